# Reads the floors table, the USES_ rows and then all sources; prints "file:line: finding" for each breach of the rules:
# includes, doors, banned calls, length of functions. Plain awk (mawk). SPDX-License-Identifier: Apache-2.0

function say(text) { printf "%s:%d: %s\n", FILENAME, FNR, text }

# The line without comments, and with the text of strings and characters blanked. State: in_comment.
function code_of(line,    out, n, i, c, two, quote) {
    out = ""
    n = length(line)
    quote = ""
    for (i = 1; i <= n; i++) {
        c = substr(line, i, 1)
        two = substr(line, i, 2)
        if (in_comment) {
            if (two == "*/") { in_comment = 0; i++ }
        } else if (quote != "") {
            if (c == "\\") i++
            else if (c == quote) { quote = ""; out = out c }
        } else if (two == "/*") {
            in_comment = 1
            i++
        } else if (two == "//") {
            return out
        } else {
            if (c == "\"" || c == "'") quote = c
            out = out c
        }
    }
    return out
}

# The module that a public header belongs to.
function owner(header,    name) {
    name = header
    sub(/^qep\//, "", name)
    sub(/\.h$/, "", name)
    if (name == "json") return "base"
    if (name == "par_mpi") return "par"
    return name
}

function check_include(line,    h, own) {
    h = line
    sub(/^[ \t]*#[ \t]*include[ \t]*[<"]/, "", h)
    sub(/[>"].*$/, "", h)
    if (h ~ /_priv\.h$/ || h !~ /^qep\// && line ~ /include[ \t]*"/) {
        if (h ~ /\//) say("private header of another module: " h)
        return
    }
    if (h in door && !((module, h) in may_open))
        say("module " module " may not include " h " (tests/lint/floors.txt: only" door[h] ")")
    if (h !~ /^qep\//) return
    own = owner(h)
    if (!(own in floor)) say("header of no module: " h)
    else if (own != module && !((module, own) in uses))
        say("module " module " may not include " h ": " own " is not in its USES_ row of the Makefile")
}

function check_banned(code,    i, rest, name) {
    rest = code
    while (match(rest, /[A-Za-z_][A-Za-z0-9_]*/)) {
        name = substr(rest, RSTART, RLENGTH)
        rest = substr(rest, RSTART + RLENGTH)
        if (name == "MPI_COMM_WORLD" && FILENAME != "src/par/start.c")
            say("MPI_COMM_WORLD is named only in src/par/start.c; use the qep_comm that you were given")
        else if (name in banned && rest ~ /^[ \t]*\(/)
            say("banned call: " name ": " banned[name])
        else if (name == "_exit" && module != "base" && module != "par" && rest ~ /^[ \t]*\(/)
            say("banned call: _exit: only base and par end the job; return a status")
    }
}

BEGIN {
    banned["exit"] = banned["abort"] = banned["quick_exit"] = "return a status, or QEP_BUG"
    banned["assert"] = "use QEP_REQUIRE"
    banned["rand"] = banned["srand"] = "use qep/tensor.h's generator"
    banned["atoi"] = banned["atol"] = banned["atof"] = "does not report errors; use qep_parse_ or strtol with checks"
    banned["sprintf"] = banned["vsprintf"] = "use qep_format or snprintf"
    banned["strcpy"] = banned["strcat"] = banned["strtok"] = banned["gets"] = "no bound; see qep/base.h"
    mode = "table"
}

FNR == 1 { in_comment = 0; start = 0; files++ }

# floors.txt
FILENAME ~ /floors\.txt$/ {
    if ($0 ~ /^#/ || NF < 2) next
    floor[$2] = $1
    table_line[$2] = FNR
    for (i = 3; i <= NF; i++) { may_open[$2, $i] = 1; door[$i] = door[$i] " " $2 }
    next
}

# "module: module module", from make
FILENAME ~ /uses\.txt$/ {
    m = $1
    sub(/:$/, "", m)
    in_make[m] = 1
    if (!(m in floor)) { printf "tests/lint/floors.txt:1: module %s of the Makefile has no row\n", m; next }
    for (i = 2; i <= NF; i++) {
        uses[m, $i] = 1
        if (!($i in floor)) printf "Makefile:1: USES_%s names %s, which is no module\n", m, $i
        else if (!(floor[$i] < floor[m])) printf "Makefile:1: USES_%s: %s stands on floor %d, not below floor %d\n", m, $i, floor[$i], floor[m]
    }
    next
}

FNR == 1 {
    if (FILENAME ~ /^include\/qep\//) module = owner(substr(FILENAME, 9))
    else { split(FILENAME, part, "/"); module = part[2] }
    if (!(module in floor)) say("module " module " is not in tests/lint/floors.txt")
}

{ code = code_of($0) }
code ~ /^[ \t]*#[ \t]*include/ { check_include($0); next }
{ check_banned(code) }

# A function's head stands at the margin and does not end in ";"; its end is a brace at the margin.
/^[A-Za-z_].*\(/ && !/;[ \t]*$/ { start = FNR; head = $0 }
/^}/ && start {
    if (FNR - start + 1 > longest) printf "%s:%d: function of %d lines, %d are the limit: %s\n", FILENAME, start, FNR - start + 1, longest, substr(head, 1, 60)
    start = 0
}
code ~ /(^|[^A-Za-z0-9_])main[ \t]*\(/ && /^int / && FILENAME != "src/run/main.c" { say("main stands only in src/run/main.c") }

END { for (m in floor) if (!(m in in_make)) printf "tests/lint/floors.txt:%d: %s is not in MODULES of the Makefile\n", table_line[m], m }
