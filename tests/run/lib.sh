# Shared by the whole-program tests (tests/run/test_*.sh), which source it from the repository root. It finds the program, makes a folder
# $work that is removed at the end, and offers the functions below. QEP_MPI: the program; O: build folder.
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034 # variables for those who source it
set -u

O=${O:-build/release}
case $O in /*) ;; *) O=$PWD/$O ;; esac
QEP_MPI=${QEP_MPI:-$O/qep_mpi}
case $QEP_MPI in /*) ;; *) QEP_MPI=$PWD/$QEP_MPI ;; esac
shared=${QEP_SHARED:-../shared} # data beside the repository, which may not be there
case $shared in /*) ;; *) shared=$PWD/$shared ;; esac
MPIRUN=${QEP_MPIRUN:-mpirun --oversubscribe --bind-to none}
LIMIT=${QEP_RUN_TIMEOUT:-60} # seconds for one run of the program: longer is taken for a hang

export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
# more ranks and threads than cores: waiting threads must not take the core from those that work
export OMP_WAIT_POLICY=passive OMPI_MCA_mpi_yield_when_idle=1 OMP_NUM_THREADS=1
# one machine: the plain transports and no daemon for a single rank start three times as fast (its session's folder is then the same for all such
# programs: below, one of this test's own)
export OMPI_MCA_pml=ob1 OMPI_MCA_btl=self,vader OMPI_MCA_ess_singleton_isolated=1
# a core type set for another machine would halve the speed and change the bits
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE QEP_FAULT QEP_TEST_BLOCK_SLEEP QEP_TEST_SAVE_SLEEP QEP_RANKS_PER_NODE QEP_PAR_CHUNK

work=$(mktemp -d "${TMPDIR:-/tmp}/qep_run.XXXXXX") || exit 1
mkdir "$work/ompi"
# Ranks that are killed leave their shared memory and the session of Open MPI behind: both go with these folders.
shm=$(mktemp -d /dev/shm/qep_run.XXXXXX 2>/dev/null) || shm=$work/ompi
chmod 755 "$work"
chmod 1777 "$shm" "$work/ompi" # for runs as another user
export OMPI_MCA_btl_vader_backing_directory="$shm" OMPI_MCA_osc_sm_backing_directory="$shm" OMPI_MCA_orte_tmpdir_base="$work/ompi"
background=''
mounts=''

clean_up() {
    for p in $background; do kill -9 "$p" 2>/dev/null; done
    for m in $mounts; do umount "$m" 2>/dev/null; done
    if [ -n "${QEP_KEEP:-}" ]; then echo "# kept: $work"; else rm -rf "$work" "$shm"; fi
}
trap clean_up EXIT
trap 'exit 130' HUP INT TERM

# --- TAP -----------------------------------------------------------------------------------

n_tests=0
n_failed=0

ok() {
    n_tests=$((n_tests + 1))
    echo "ok $n_tests - $*"
}

# not_ok TEXT: with the end of the last run's output as diagnosis
not_ok() {
    n_tests=$((n_tests + 1)) n_failed=$((n_failed + 1))
    echo "not ok $n_tests - $*"
    [ -f "$work/log" ] && tail -n 12 "$work/log" | sed 's/^/#   /'
}

skip() { # skip TEXT REASON
    n_tests=$((n_tests + 1))
    echo "ok $n_tests - $1 # SKIP $2"
}

# check TEXT COMMAND...: a test that passes when the command does
check() {
    text=$1
    shift
    if "$@"; then ok "$text"; else not_ok "$text"; fi
}

finish() {
    echo "1..$n_tests"
    [ "$n_failed" = 0 ]
    exit $?
}

bail_out() {
    echo "Bail out! $*"
    [ -f "$work/log" ] && sed 's/^/#   /' "$work/log"
    exit 1
}

# --- programs --------------------------------------------------------------------------------

[ -x "$QEP_MPI" ] || bail_out "no program $QEP_MPI; make it first"
cp "$QEP_MPI" "$work/qep_mpi" && QEP_MPI=$work/qep_mpi # it may be built anew while the tests run

# forge: makes and damages models and token files (tools/forge.c)
FORGE=$O/tests/run/forge
build_forge() {
    libs=''
    for l in safetensors tensor base; do libs="$libs $O/lib/libqep_$l.a"; done
    for f in tests/run/tools/forge.c tests/support/tiny_model.c $libs; do
        [ -x "$FORGE" ] && [ -z "$(find "$f" -newer "$FORGE")" ] && continue
        mkdir -p "${FORGE%/*}"
        # shellcheck disable=SC2086 # several libraries
        ${MPICC:-mpicc} -std=c11 -D_POSIX_C_SOURCE=200809L -O1 -fopenmp -Iinclude -Itests/support -o "$FORGE.$$" tests/run/tools/forge.c \
            tests/support/tiny_model.c -Wl,--start-group $libs -Wl,--end-group -ljansson -lm && mv "$FORGE.$$" "$FORGE"
        return
    done
}
build_forge || bail_out "tests/run/tools/forge.c does not compile"
forge() { "$FORGE" "$@" || bail_out "forge $*"; }

# forge_case OPTION...: goes to $work, where it makes a small model m with forge's options, tokens and case.ini
forge_case() {
    cd "$work" || exit 1
    forge model m "$@"
    forge npy c.npy i4 10x32 160
    forge npy e.npy u2 300 160
    cat >case.ini <<'INI'
[model]
path = m
[output]
path = out
[calibration]
data = c.npy
samples = 8
[quantization]
group_size = 32
[evaluation]
data = val:e.npy
INI
}

# undisturbed_case: the result of case.ini as it should be, in $work/good; its digest in $good
undisturbed_case() {
    run 1 case.ini --set output.path=good
    [ "$code" = 0 ] || bail_out "the undisturbed run ended with $code"
    good=$(digest good)
    [ ${#good} = 32 ] || bail_out "no digest in summary.json"
}

# run NP ARGUMENT...: output of both kinds in $work/log, exit code in $code; 124 or 137 when it ran too long
run() {
    np=$1
    shift
    if [ "$np" = 1 ]; then
        timeout -k 5 "$LIMIT" "$QEP_MPI" "$@" >"$work/log" 2>&1 </dev/null
    else
        # shellcheck disable=SC2086 # launcher and its options
        timeout -k 5 "$LIMIT" $MPIRUN -np "$np" "$QEP_MPI" "$@" >"$work/log" 2>&1 </dev/null
    fi
    code=$?
}

# start NP ARGUMENT...: the same in the background, always under mpirun; $job: to wait for, $launcher: mpirun's process
start() {
    np=$1
    shift
    # shellcheck disable=SC2086 # launcher and its options
    timeout -k 5 "$LIMIT" $MPIRUN -np "$np" "$QEP_MPI" "$@" >"$work/log" 2>&1 </dev/null &
    job=$!
    background="$background $job"
    launcher=''
    wait_until "launcher=\$(children $job) && [ -n \"\$launcher\" ]" || bail_out "mpirun did not start"
}

# The launcher is MPICH's: it treats signals in its own way.
hydra() {
    # shellcheck disable=SC2086 # launcher and its options
    $MPIRUN --version 2>/dev/null | grep -q HYDRA
}

# children PROCESS
children() { cat /proc/[0-9]*/stat 2>/dev/null | awk -v p="$1" '{ id = $1; sub(/.*\) /, ""); if ($2 == p) print id }'; }

# The ranks of the job that was started last, lowest process first: not the launcher's own helpers.
ranks() { descendants "$launcher" | while read -r p; do case $(cat "/proc/$p/comm" 2>/dev/null) in qep_mpi*) echo "$p" ;; esac; done | sort -n; }
descendants() { for d in $(children "$1"); do echo "$d"; descendants "$d"; done; }

# end_of JOB: waits; exit code in $code
end_of() {
    wait "$1" 2>/dev/null
    code=$?
    background=''
}

# wait_until COMMAND: tries it every 20 ms, for at most $LIMIT seconds
wait_until() {
    waits=$((LIMIT * 50))
    until eval "$1"; do
        waits=$((waits - 1))
        [ "$waits" -gt 0 ] || return 1
        sleep 0.02
    done
}

# said TEXT: the log contains it
said() { grep -qF -e "$1" "$work/log"; }

# hung CODE: the run had to be ended
hung() { [ "$1" = 124 ] || [ "$1" = 137 ]; }

# --- files -----------------------------------------------------------------------------------

# edit FILE SED-SCRIPT
edit() { sed "$2" "$1" >"$1.edited" && mv "$1.edited" "$1"; }

# tree DIR [NAME-TO-LEAVE-OUT...]: names and checksums of all files
tree() {
    (
        cd "$1" 2>/dev/null || { echo absent; exit; }
        shift
        set -f
        for x in "$@"; do set -- "$@" ! -name "$x"; shift; done
        find . "$@" -type d -print
        find . "$@" -type f -exec cksum {} +
    ) | sort
}

# paper_run NP NAME TEXT TOKENS OPTION...: config/paper/NAME.ini on wiki5m in $shared, into $work/out; evaluated as "eval" on the first TOKENS of TEXT
paper_run() {
    paper_np=$1 paper_ini=config/paper/$2.ini paper_text=$3 paper_tokens=$4
    shift 4
    rm -rf "$work/out"
    run "$paper_np" "$paper_ini" --set model.path="$shared/models/wiki5m" --set output.path="$work/out" --set run.compute=f32 \
        --set calibration.data="$shared/models/wiki5m_tokens/calibration.npy" --set calibration.length=auto --set checkpoint.every=never \
        --set evaluation.data="eval:$shared/models/wiki5m_tokens/$paper_text" --set evaluation.length=256 --set evaluation.tokens="$paper_tokens" "$@"
}

# json FILE PATH: the value at a.b.c (array items by number) of a JSON file, without quotes; empty when absent. Without PATH: "path value" of
# everything, a line each.
json() {
    awk -v want="${2:-}" '
        { text = text $0 "\n" }
        END {
            depth = 0; key = ""; pending = 0
            while (match(text, /^[ \t\n,:]*("([^"\\]|\\.)*"|[][{}]|[^][{}", \t\n:]+)/)) {
                token = substr(text, 1, RLENGTH); text = substr(text, RLENGTH + 1)
                sub(/^[ \t\n,:]*/, "", token)
                if (token == "}" || token == "]") { depth--; after(); continue }
                if (kind[depth] == "{" && !pending) { name[depth] = substr(token, 2, length(token) - 2); pending = 1; continue }
                if (token == "{" || token == "[") { depth++; kind[depth] = token; name[depth] = token == "[" ? 0 : ""; pending = 0; continue }
                path = name[1]
                for (i = 2; i <= depth; i++) path = path "." name[i]
                if (want == "") print path, token
                if (path == want) { gsub(/^"|"$/, "", token); print token; exit }
                after()
            }
        }
        function after() { if (kind[depth] == "[") name[depth]++; else pending = 0 }' "$1"
}

digest() { json "$1/summary.json" digest; }

# no_leftovers DIR: nothing that an unfinished run leaves behind
no_leftovers() {
    left=$(find "$1" \( -name '*.partial' -o -name '*.tmp' -o -name 'checkpoint*' -o -name STOP \) -print)
    [ -z "$left" ] || { echo "# left behind: $left"; return 1; }
}
