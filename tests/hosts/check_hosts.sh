#!/bin/sh
# Several hosts on one machine: network namespaces, each with a host name and an address of its own, joined by a bridge; mpirun starts its daemons in
# them and the ranks talk over TCP. Unequal ranks per host give the digest of one rank; when a host dies the job ends and goes on with
# the others. Needs root, iproute2 and Open MPI (make hosts). SPDX-License-Identifier: Apache-2.0
. tests/run/lib.sh
LIMIT=240

give_up() {
    echo "ok 1 - several hosts # SKIP $*"
    echo '1..1'
    exit 77
}
[ "$(id -u)" = 0 ] || give_up 'network namespaces want root'
command -v ip >/dev/null 2>&1 && command -v unshare >/dev/null 2>&1 || give_up 'ip (iproute2) or unshare (util-linux) is missing'
mpirun --version 2>/dev/null | grep -q 'Open MPI' || give_up 'the start through an agent is written for Open MPI'

net=10.231.$(($$ % 200)) bridge=qb$$
hosts="q$$a q$$b q$$c"
a=q$$a b=q$$b c=q$$c

remove_net() {
    for h in $hosts; do
        for p in $(ip netns pids "$h" 2>/dev/null); do kill -9 "$p" 2>/dev/null; done
        ip netns del "$h" 2>/dev/null
    done
    ip link del "$bridge" 2>/dev/null
    clean_up
}
trap remove_net EXIT

make_net() {
    ip link add "$bridge" type bridge && ip link set "$bridge" up || return 1
    n=0
    for h in $hosts; do
        n=$((n + 1))
        ip netns add "$h" && ip link add "$h" type veth peer name eth0 netns "$h" && ip link set "$h" master "$bridge" up &&
            ip -n "$h" addr add "$net.$n/24" dev eth0 && ip -n "$h" link set eth0 up && ip -n "$h" link set lo up || return 1
    done
}
make_net 2>"$work/net.log" || give_up "no network of namespaces can be made: $(head -n 1 "$work/net.log")"

# What ssh would be: HOST COMMAND...
cat >"$work/agent" <<'AGENT'
#!/bin/sh
host=$1
shift
exec ip netns exec "$host" unshare --uts --ipc sh -c "hostname $host; $*"
AGENT
chmod 755 "$work/agent"
export OMPI_MCA_btl=self,vader,tcp OMPI_MCA_plm=rsh OMPI_MCA_plm_rsh_agent="$work/agent" OMPI_MCA_plm_rsh_no_tree_spawn=1
export OMPI_MCA_btl_tcp_if_include="$net.0/24" OMPI_MCA_oob_tcp_if_include="$net.0/24" OMPI_MCA_oob_tcp_keepalive_time=5
unset OMPI_MCA_ess_singleton_isolated

# start_on HOSTS OPTION...: a job in the background; mpirun runs on host a
start_on() {
    where=$1
    shift
    timeout -k 5 "$LIMIT" "$work/agent" "$a" "exec mpirun --bind-to none --host $where $QEP_MPI $*" >"$work/log" 2>&1 </dev/null &
    job=$!
    background="$background $job"
}
run_on() {
    start_on "$@"
    end_of "$job"
}

forge_case blocks=4
undisturbed_case

for where in "$a:2,$b:2,$c:2" "$a:1,$b:3,$c:2" "$b:2,$c:1"; do
    rm -rf out
    run_on "$where" case.ini
    n=$(echo "$where" | tr ',' '\n' | wc -l)
    check "$where: exit code 0" [ "$code" = 0 ]
    check "$where: $n nodes are seen" said " $n nodes"
    check "$where: the digest of one rank" [ "$(digest out)" = "$good" ]
done

rm -rf out
export QEP_TEST_BLOCK_SLEEP=1
start_on "$a:1,$b:2,$c:1" case.ini
wait_until "said 'block 2/4 done'" || bail_out 'the second block does not come'
# shellcheck disable=SC2086 # several processes
kill_host() { pids=$(ip netns pids "$1") && [ -n "$pids" ] && kill -9 $pids; } # the list is cut short when a process ends while it is made
wait_until "kill_host '$b'" || bail_out 'nothing runs on the second host'
end_of "$job"
export QEP_TEST_BLOCK_SLEEP=0
check 'a host dies: the job does not hang' [ "$code" != 124 ]
check 'a host dies: the job ends without success' [ "$code" != 0 ]
check 'a host dies: the launcher names what it lost' grep -qiE 'lost communication|daemon|died|killed|exited on signal' log
check 'a host dies: the checkpoint is there' [ -f out/checkpoint.h5 ]
run_on "$a:2,$c:1" case.ini
check 'it goes on with the two others: exit code 0' [ "$code" = 0 ]
check '... from the checkpoint' said 'resuming behind block'
check '... to the digest of one rank' [ "$(digest out)" = "$good" ]
check '... and leaves nothing behind' no_leftovers out
finish
