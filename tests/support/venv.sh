#!/bin/sh
# venv.sh NAME REQUIREMENT...: makes the Python environment NAME with these PyPI packages, or finds it made, and prints the path of
# its interpreter. It lies outside the tree: $QEP_VENVS/NAME, by default ~/.cache/qep_mpi/NAME. Progress goes to stderr. Exit code 77 (a
# skipped test) when there is no Python 3 or the packages cannot be had. A requirement "--no-deps X" is installed by itself, without
# what X depends on. SPDX-License-Identifier: Apache-2.0
set -u
name=$1
shift
dir=${QEP_VENVS:-${XDG_CACHE_HOME:-$HOME/.cache}/qep_mpi}/$name
stamp=$dir/qep_mpi.requirements
want=$(printf '%s\n' "$@")

give_up() {
    echo "venv.sh: $*" >&2
    exit 77
}

if [ -x "$dir/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$want" ]; then
    echo "$dir/bin/python"
    exit 0
fi
command -v python3 >/dev/null 2>&1 || give_up "no python3"
if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || give_up "python3 has no venv (Debian: python3-venv)"
    apt-get install -qq -y --no-install-recommends python3-venv >&2 || give_up "apt-get could not install python3-venv"
fi
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
echo "venv.sh: making $dir with: $*" >&2
mkdir -p "$dir" && python3 -m venv "$dir" >"$log" 2>&1 || { tail -n 5 "$log" >&2; give_up "no environment in $dir"; }
plain=''
for r in "$@"; do
    case $r in
        --no-deps\ *) ;;
        *) plain="$plain $r" ;;
    esac
done
# shellcheck disable=SC2086 # a list
"$dir/bin/pip" install -q $plain >"$log" 2>&1 || { tail -n 5 "$log" >&2; give_up "pip could not install$plain"; }
for r in "$@"; do
    case $r in
        --no-deps\ *) "$dir/bin/pip" install -q --no-deps "${r#--no-deps }" >"$log" 2>&1 || { tail -n 5 "$log" >&2; give_up "pip could not install ${r#--no-deps }"; } ;;
    esac
done
printf '%s\n' "$@" >"$stamp"
echo "$dir/bin/python"
