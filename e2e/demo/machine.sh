# What runs for the demo: starts it, and stops it by its own process ids. Sourced by `run`.
#
# Each process is in a session of its own, so that Ctrl-C reaches the demo alone, which then stops them in order; unless
# they shall stay (KEEP=1), they also end when the demo is killed.

work=            # the demo's directory: logs, policy, manifests as applied, process ids
declare -A pids  # by name
order=()         # names, in the order of their start

# start NAME COMMAND…: in the background, its output in a log of that name.
start() {
    local name=$1
    shift
    local ends_with_us=(setpriv --pdeathsig TERM)
    [[ -z ${KEEP:-} ]] || ends_with_us=()
    setsid "${ends_with_us[@]}" "$@" </dev/null >"$work/$name.log" 2>&1 &
    pids[$name]=$!
    # Else the shell itself has something to say when one is killed.
    disown "$!"
    order+=("$name")
    # The start time too: a process id may be another's by the time that `stop` is called.
    echo "$! $(started "$!") $name" >>"$work/processes"
}

# When a process was started, in the kernel's count; nothing when it is gone.
started() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

is_running() { kill -0 "${pids[$1]}" 2>/dev/null; }

# Waits for a file or an answer of a process, and ends the demo with its log when it ends instead.
wait_for_process() {
    local name=$1 seconds=$2
    shift 2
    local deadline=$((SECONDS + seconds))
    until "$@"; do
        if ! is_running "$name" || ((SECONDS >= deadline)); then
            tail -n 20 "$work/$name.log" >&2
            fail "$name did not start: its log is above"
        fi
        sleep 0.05
    done
}

# Stops what was started, the last first: asks, waits up to 20 s, then kills.
stop_all() {
    local at name pid
    for ((at = ${#order[@]} - 1; at >= 0; at--)); do
        name=${order[at]}
        pid=${pids[$name]}
        kill -TERM "$pid" 2>/dev/null || continue
        for _ in {1..200}; do
            is_running "$name" || break
            sleep 0.1
        done
        kill -KILL "$pid" 2>/dev/null || true
    done
}

# Writes the script that stops what KEEP=1 left.
write_stop() {
    cat >"$work/stop" <<'SCRIPT'
#!/usr/bin/env bash
# Stops what `KEEP=1 make demo` left, the last first, and removes its directory.
set -uo pipefail
named=$(dirname "${BASH_SOURCE[0]}")
here=$(cd "$named" && pwd -P)
is_ours() { [[ $(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20) == "$2" ]]; }
tac "$here/processes" | while read -r pid began name; do
    is_ours "$pid" "$began" || continue
    echo "stopping $name (process $pid)"
    kill -TERM "$pid"
    for _ in {1..200}; do
        is_ours "$pid" "$began" || break
        sleep 0.1
    done
    if is_ours "$pid" "$began"; then kill -KILL "$pid"; fi
done
rm -rf -- "$here"
if [[ -L $named ]]; then rm -- "$named"; fi
SCRIPT
    chmod 755 "$work/stop"
}
