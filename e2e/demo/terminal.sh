# What the demo says, and how it checks: headings, commands as they would be typed, findings. Sourced by `run`.
# Without a terminal, or with NO_COLOR set, there are no colours.

if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
    bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
else
    bold='' dim='' green='' red='' plain=''
fi

heading() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
say() { printf '%s\n' "$*"; }

# Shows a command as it would be typed, then runs it.
run() {
    show "$@"
    "$@"
}

show() {
    local word line=
    for word in "$@"; do
        [[ $word =~ ^[][A-Za-z0-9_.,:/=@%+{}*-]+$ ]] || word="'${word//\'/\'\\\'\'}'"
        line+=" $word"
    done
    show_line "${line# }"
}

show_line() { printf '%s$ %s%s\n' "$dim" "$1" "$plain"; }

# expect WHAT FOUND WANTED: the demo ends when they differ.
expect() {
    [[ $2 == "$3" ]] || fail "$1: expected $3, found ${2:-nothing}"
    printf '%sok%s %s: %s\n' "$green" "$plain" "$1" "$2"
}

# expect_at_most WHAT SECONDS LIMIT
expect_at_most() {
    awk -v found="$2" -v limit="$3" 'BEGIN { exit !(found != "" && found <= limit) }' ||
        fail "$1: expected at most $3 s, found ${2:-nothing}"
    printf '%sok%s %s: %.1f s (at most %s)\n' "$green" "$plain" "$1" "$2" "$3"
}

# until_true WHAT SECONDS COMMAND…: waits for a command to succeed; the demo ends when it does not in time.
until_true() {
    local what=$1 deadline=$((SECONDS + $2))
    shift 2
    until "$@"; do
        ((SECONDS < deadline)) || fail "$what: it did not happen in time"
        sleep 0.05
    done
}

fail() {
    printf '%sFAILED%s %s\n' "$red" "$plain" "$*" >&2
    exit 1
}
