#!/bin/sh
# Text in: every kind of file and selection gives the same ids for any number of ranks, from .gz, from blocks of a .txt and from saved
# tokens; what is said of them; a configuration of four lines; and text that cannot be used.
# SPDX-License-Identifier: Apache-2.0
. tests/run/lib.sh

cp -r tests/data/quickstart "$work/m"
cd "$work" || exit 1

# 120 documents of 5 to 250 words, some with letters outside ASCII, as blocks of a text file and as jsonl
awk 'function rnd(n) { s = (s * 1103 + 12345) % 65521; return s % n }
    BEGIN {
        s = 1; n = split("once upon a time there was little girl named Lily who liked to play in the park with her dog caf\303\251 \342\200\234yes\342\200\235 and, then. she said; big red ball \360\237\230\200", w, " ")
        for (d = 0; d < 120; d++) {
            line = ""
            for (i = 5 + rnd(d % 6 == 0 ? 246 : 60); i > 0; i--) line = line (line == "" ? "" : " ") w[1 + rnd(n)]
            print line "\n" > "docs.txt"
            print "{\"id\": " d ", \"text\": \"" line "\"}" > "docs.jsonl"
        }
    }'
gzip -k docs.txt docs.jsonl
cat >case.ini <<'INI'
model.path = m
output.path = out
calibration.data = docs.jsonl
evaluation.data = val:docs.txt
INI

# the ids of a dry run, as a hash: $ids
plan() {
    np=$1
    shift
    run "$np" case.ini --dry-run --set calibration.length=64 --set calibration.samples=12 --set evaluation.length=32 "$@"
    ids=$(sed -n 's/.*token ids \([0-9a-f]*\);.*/\1/p' "$work/log")
}

# --- the same ids, whoever reads them ---------------------------------------------------------------------

for selection in random random-new sequential packed; do
    plan 1 --set calibration.selection=$selection
    want=$ids
    check "$selection: ids from .jsonl" [ ${#want} = 32 ]
    cp "$work/log" "$selection.log"
    for np in 2 3 4; do
        plan $np --set calibration.selection=$selection
        check "$selection: the same on $np ranks" [ "$ids" = "$want" ]
    done
    plan 2 --set calibration.selection=$selection --set calibration.data=docs.jsonl.gz --set evaluation.data=val:docs.txt.gz
    check "$selection: the same from .gz" [ "$ids" = "$want" ]
    plan 2 --set calibration.selection=$selection --set calibration.data=docs.txt --set calibration.documents=blocks
    check "$selection: the same from the blocks of a .txt" [ "$ids" = "$want" ]
    plan 3 --set calibration.selection=$selection --set calibration.seed=7
    case $selection in
        random*) check "$selection: the seed matters" [ "$ids" != "$want" ] ;;
        *) check "$selection: the seed does not matter" [ "$ids" = "$want" ] ;;
    esac
done
# documents of the sequences of a kind, from the log
drawn() { awk -v kind="$1" '/^[a-z]*, .* sequences of/ { on = $1 == kind "," ; next } /^  [0-9]+:[0-9]+/ && on { for (i = 1; i <= NF; i++) { sub(/:.*/, "", $i); print $i } next } /^[^ ]/ { on = 0 }' "$2" | sort -u; }
drawn calibration random.log >calibration.docs
drawn validation random.log >validation.docs
check 'random: held-out windows come from documents that calibration leaves alone' sh -c '[ -s calibration.docs ] && [ "$(wc -l <validation.docs)" = 16 ] && [ -z "$(comm -12 calibration.docs validation.docs)" ]'
# the rule of random-new: with documents of 64 or 65 tokens only those of 65 are drawn, from the start
awk 'BEGIN { for (d = 0; d < 30; d++) { printf "{\"text\": \""; for (i = 0; i < 64 + d % 2; i++) printf "%s", i ? " a" : "a"; print "\"}" } }' >exact.jsonl
for selection in random random-new; do
    plan 2 --set calibration.selection=$selection --set calibration.data=exact.jsonl --set calibration.validation=0 --set evaluation.data=
    grep '^  [0-9]*:[0-9]' log | tr -s ' ' '\n' | grep . >$selection.exact
done
check 'random draws documents of just the length, and both windows of one token more' sh -c 'grep -q "[02468]:0" random.exact && grep -q "[13579]:1" random.exact'
check 'random-new draws neither' sh -c '[ "$(wc -l <random-new.exact)" = 12 ] && ! grep -v "[13579]:0$" random-new.exact'
check 'the log tells documents' grep -q 'docs.jsonl: 120 documents' sequential.log
check 'the log tells the chosen windows' grep -q 'document or row:first token' random.log
check 'sequential: windows stay inside documents, one behind the other' grep -q '^  0:0 0:64 ' sequential.log
check 'packed: no more documents are tokenized than are needed' sh -c 'n=$(sed -n "s/.*docs.jsonl: 120 documents, the first \([0-9]*\) .*/\1/p" packed.log); [ "$n" -gt 0 ] && [ "$n" -lt 120 ]'
plan 1 --set calibration.data=docs.txt
want=$ids
plan 3 --set calibration.data=docs.txt.gz
check 'a .txt as one document: the same on 3 ranks from .gz' [ "$ids" = "$want" ]
plan 1 --set calibration.data='docs.jsonl*3, docs.txt'
check 'weights share the samples 3 to 1' grep -q 'calibration, docs.txt: 3 sequences' "$work/log"
check 'the log tells the rule of BOS, of calibration and evaluation' sh -c 'grep -q "BOS, calibration: none, as the tokenizer has it$" log && grep -q "BOS, evaluation: none, as" log'
plan 1 --set calibration.bos=no
check 'bos = no is said' sh -c 'grep -q "BOS, calibration: none$" log && grep -q "BOS, evaluation: none$" log'
plan 1 --set calibration.bos=yes --set calibration.selection=packed --set evaluation.data=v:docs.txt
check 'bos = yes is said' sh -c 'grep -q "BOS, calibration: one in front of each document$" log && grep -q "BOS, evaluation: one in front of each set$" log'
forge npy rows.npy i4 20x64 160
plan 1 --set calibration.selection=packed --set calibration.data='docs.jsonl, rows.npy' --set evaluation.data=v:rows.npy
check 'EOS, ids as given are said' sh -c 'grep -q "BOS, calibration: none, as the tokenizer has it; EOS behind each document; token ids as given$" log && grep -q "BOS, evaluation: token ids as given, nothing is added$" log'

# --- an evaluation text in parts ---------------------------------------------------------------------------

for i in 1 2 3 4 5 6; do cat docs.jsonl; done >many.jsonl
sed 's/^{"id": [0-9]*, "text": "//; s/"}$/\n/' many.jsonl | sed '$d' | head -c -1 >joined.txt # documents with a blank line between them
gzip -k joined.txt
plan 1 --set evaluation.data=v:many.jsonl
want=$ids
check 'evaluation: documents as one text' grep -q 'many.jsonl: 720 documents as one text, all of it tokenized' log
for np in 2 3 4; do
    plan $np --set evaluation.data=v:many.jsonl
    check "evaluation: the same ids on $np ranks" [ "$ids" = "$want" ]
    plan $np --set evaluation.data=v:joined.txt.gz
    check "evaluation: the same from a .txt.gz, in other parts, on $np ranks" [ "$ids" = "$want" ]
done
plan 1 --set evaluation.data=v:many.jsonl --set evaluation.tokens=2000
want=$ids
for np in 1 4; do
    plan $np --set evaluation.data=v:joined.txt --set evaluation.tokens=2000
    check "evaluation.tokens on $np ranks: the same windows" [ "$ids" = "$want" ]
    check '... and no more text is tokenized than is needed' grep -q 'joined.txt: 1 document as one text, its beginning tokenized by the ranks together: [1-9][0-9][0-9][0-9][0-9]* tokens' log
done
printf '{"text": "a b"}\n{"text": }\n' | cat many.jsonl - >late.jsonl
plan 3 --set evaluation.data=v:late.jsonl
check 'evaluation: a line that is no JSON, on 3 ranks' [ "$code" = 2 ]
check '... is named' said 'late.jsonl:722:'

# --- saved tokens, resume, four lines ----------------------------------------------------------------------

run 2 case.ini --set calibration.length=64 --set calibration.samples=12 --set evaluation.length=32 --set calibration.save_tokens=used.h5
check 'a run from four lines and its lengths' [ "$code" = 0 ]
first=$(json out/summary.json tokens.digest) codes=$(digest out)
for kind in calibration evaluation; do
    check "$kind: summary.json and report tell how BOS came in" sh -c \
        'grep -q "\"bos_$1\": \"none, as the tokenizer has it\"" out/summary.json && grep -q "BOS, $1: none, as the tokenizer has it" out/report.html' sh $kind
done
run 1 --report out
check '... and in a terminal, beside both growths of the error' sh -c 'grep -q "BOS, evaluation:  none, as" log && grep -q "|^2 / |x|^2 after" log && grep -q "Delta) after" log'
check '... which the page draws too' [ "$(grep -c 'growth of the error over blocks, ' out/report.html)" = 2 ]
run 3 case.ini --set calibration.length=64 --set calibration.samples=12 --set evaluation.length=32 --set calibration.data=used.h5 \
    --set calibration.selection=sequential --set evaluation.data=val:used.h5:/evaluation.val --set output.path=again
check 'saved tokens repeat the run: the ids' [ "$(json again/summary.json tokens.digest)" = "$first" ]
check 'saved tokens repeat the run: the codes' [ "$(digest again)" = "$codes" ]
export QEP_TEST_BLOCK_SLEEP=0.3
start 1 case.ini --set calibration.length=64 --set calibration.samples=12 --set calibration.validation=3 --set calibration.save_tokens=saved.h5 --set output.path=stopped
wait_until "said 'block 1/4 done'" && touch stopped/STOP
end_of "$job"
check 'stopped after a block' [ "$code" = 75 ]
sed -n 's/.*token ids \([0-9a-f]*\);.*/\1/p' log >said.ids
if command -v h5dump >dump.log; then
    # windows of the log, a line each, and those of the checkpoint
    awk '/^[a-z]*, .* sequences of/ { kind = $1 == "calibration," ? 0 : $1 == "validation," ? 1 : 2; next } kind < 2 && /^  [0-9]+:[0-9]+/ { for (i = 1; i <= NF; i++) { split($i, p, ":"); print kind, 0, p[1], p[2], 64 } next }' log >said.windows
    h5dump -y -w 0 -d sequences stopped/checkpoint.h5 | awk '/^ *[0-9, ]+$/ { gsub(/[, ]+/, " "); sub(/^ /, ""); sub(/ $/, ""); print }' | grep '^[01] ' >dumped.windows
    check 'the checkpoint has the chosen windows' sh -c '[ "$(wc -l <dumped.windows)" = 15 ] && cmp -s said.windows dumped.windows'
    check '... the number of documents' sh -c 'h5dump -y -d documents stopped/checkpoint.h5 | grep -q "^ *120$"'
    check '... and the hash of the ids' sh -c 'h5dump -a "token ids" stopped/checkpoint.h5 | grep -q "\"$(cat said.ids)\""'
else
    skip 'windows, documents and hash in the checkpoint' 'no h5dump (hdf5-tools)'
fi
sed 's/upon/over/' docs.jsonl >other.jsonl
run 1 case.ini --set calibration.length=64 --set calibration.samples=12 --set output.path=stopped --set calibration.data=other.jsonl
check 'other text: the checkpoint is refused' [ "$code" = 6 ]
check 'other text: the message tells it' said 'token ids'
{ echo '{"text": "short"}'; cat docs.jsonl; } >shifted.jsonl
start 2 case.ini --set calibration.length=64 --set calibration.samples=12 --set calibration.validation=3 --set calibration.selection=sequential --set output.path=other
wait_until "said 'block 1/4 done'" && touch other/STOP
end_of "$job"
export QEP_TEST_BLOCK_SLEEP=0
run 1 case.ini --set calibration.length=64 --set calibration.samples=12 --set calibration.validation=3 --set calibration.selection=sequential --set output.path=other \
    --set calibration.data=shifted.jsonl --restart yes
check 'the same ids from other documents: goes on' [ "$code" = 0 ]
check '... and says so' grep -q '^15 of [0-9]* sequences come from other places than before, with the same token ids' log

# --- a read that fails on one rank is everybody's error -------------------------------------------------------

for fault in data.open:1@1 data.read:1@2 data.read:2@0; do
    for selection in random packed; do
        export QEP_FAULT=$fault
        plan 3 --set calibration.selection=$selection --set calibration.data=docs.jsonl
        unset QEP_FAULT
        check "fault $fault, $selection: exit code 5, no hang" [ "$code" = 5 ]
    done
done

# --- text that cannot be used -------------------------------------------------------------------------------

# bad CODE TEXT SAYS OPTION...: in turn on 1 and on 2 ranks
np=2
bad() {
    want=$1 text=$2 says=$3
    shift 3
    plan $((3 - np)) "$@"
    if [ "$code" != "$want" ]; then not_ok "$text, $np ranks: exit code $code, not $want"
    elif ! said "$says"; then not_ok "$text, $np ranks: no word of: $says"
    else ok "$text, $np ranks"; fi
}
all='--set calibration.selection=packed'
: >empty.txt
printf ' \n\n\t\r\n' >blank.jsonl
printf '{"text": "a b"}\n\n{"text": }\n' >syntax.jsonl
printf '{"text": "a b"}\n["text"]\n' >array.jsonl
printf '{"text": "a b"}\n{"body": "c"}\n' >field.jsonl
printf '{"text": "a b"}\n{"text": 5}\n' >number.jsonl
head -c 300 docs.jsonl.gz >cut.jsonl.gz
cp docs.txt plain.txt.gz
printf 'a few words' >short.txt
mkdir folder.txt
bad 2 'text file missing' 'cannot open' --set calibration.data=absent.txt
bad 2 'packed text file missing' 'cannot open' --set calibration.data=absent.txt.gz
bad 2 'empty text' 'empty.txt: there is no text in it; it is empty' --set calibration.data=empty.txt
bad 2 'empty evaluation set' 'empty.txt: there is no text in it; it is empty' --set evaluation.data=v:empty.txt
bad 2 'blank lines only' 'only blank lines' --set calibration.data=blank.jsonl
bad 2 'a line that is no JSON' 'syntax.jsonl:3:' --set calibration.data=syntax.jsonl $all
bad 2 'a line that is no object' 'array.jsonl:2: not an object' --set calibration.data=array.jsonl $all
bad 2 'a line without the field' 'field.jsonl:2: the object has no member "text"' --set calibration.data=field.jsonl $all
bad 2 'a field that is no text' 'number.jsonl:2: the member "text" is no string' --set calibration.data=number.jsonl $all
bad 2 'gzip file cut off' 'cut.jsonl.gz: cannot be unpacked' --set calibration.data=cut.jsonl.gz
bad 2 'no gzip file' 'plain.txt.gz: not a gzip file' --set calibration.data=plain.txt.gz
bad 2 'a folder' 'folder.txt is not a file' --set calibration.data=folder.txt
bad 2 'no document is long enough' 'none of its 120 documents has 4000 tokens' --set calibration.length=4000
bad 2 'too few windows in documents' 'join documents with calibration.selection = packed' --set calibration.selection=sequential --set calibration.samples=500
head -c 20000 docs.txt >part.txt
run 1 case.ini --dry-run --set calibration.data=part.txt --set calibration.selection=random --set calibration.length=64 --set calibration.samples=2000
check 'windows that overlap many times over are named' said 'times that and overlap'
bad 2 'text too short' 'than its length: lower calibration.length (' --set calibration.data=short.txt
bad 2 'evaluation text too short' 'not one window of 32' --set evaluation.data=v:short.txt
bad 1 'weight that is no number' 'what follows the * is' --set 'calibration.data=docs.jsonl*x'
bad 1 'weight 0' 'what follows the * is' --set 'calibration.data=docs.jsonl*0'
bad 1 'weight without a share' 'gives it none of the 12 samples' --set 'calibration.data=docs.jsonl*1000, docs.txt'
bad 2 'unknown ending' 'text is read from .txt and .jsonl files' --set calibration.data=docs.pdf
printf 'a' >one.txt
bad 2 'a text of one token' 'one.txt has 1 token; ' --set calibration.data=one.txt
bad 2 'evaluation text of one token' 'one.txt has 1 token, not one window of' --set evaluation.data=v:one.txt
# 300 characters, 3 of them no UTF-8; one letter less is too many
awk 'BEGIN { for (i = 0; i < 291; i++) printf "%s", i % 7 ? "a" : " " }' >letters
{ printf 'caf\303\251 \303 \377\376'; cat letters; } >latin.txt
for np in 1 3; do
    for data in calibration.data=latin.txt evaluation.data=v:latin.txt; do
        plan $np --set $data --set calibration.length=16 --set calibration.validation=0 --set evaluation.length=16
        check "$data, $np ranks: 3 characters of 300 that are no UTF-8 are counted and said" said 'latin.txt: 3 places are no UTF-8'
    done
done
head -c 300 latin.txt >wrong.txt
gzip -k wrong.txt
np=2
bad 2 'a text in another encoding' 'wrong.txt: 3 of its 299 characters are no UTF-8' --set calibration.data=wrong.txt
bad 2 '... packed, for evaluation' 'wrong.txt.gz: 3 of its 299 characters are no UTF-8' --set evaluation.data=v:wrong.txt.gz
{ cat docs.txt; printf 'a\000b\n'; } >nul.txt
{ cat docs.jsonl; printf '{"text": "a\000b"}\n'; } >nul.jsonl
at=$(wc -c <docs.txt) line=$(wc -c <docs.jsonl)
bad 2 'a NUL behind a text' "nul.txt: byte $((at + 1)) of its text" --set calibration.data=nul.txt
bad 2 'a NUL in a text for evaluation' "nul.txt: byte $((at + 1)) of its text" --set evaluation.data=v:nul.txt
bad 2 'a NUL in a line that would not be taken' "nul.jsonl: byte $((line + 11)) of its text" --set calibration.data=nul.jsonl --set calibration.selection=sequential
cp m/model.safetensors weights.txt
bad 2 'a binary file' 'of its text (the first is 0) is a NUL' --set calibration.data=weights.txt
rm m/tokenizer.json
bad 2 'model without a tokenizer' 'm' --set calibration.data=docs.jsonl
finish
