#!/bin/sh
# Choice tasks on the bundled model: log-likelihoods against perplexities of the same tokens as evaluation sets, scores against awk, ranks, quantization and
# evaluation alone, and every kind of bad file. SPDX-License-Identifier: Apache-2.0
. tests/run/lib.sh

cp tests/data/tasks/* "$work"
model=$PWD/tests/data/quickstart tokens=$PWD/tests/data/quickstart_tokens
cd "$work" || exit 1
cat >case.ini <<INI
[model]
path = $model
[output]
path = out
overwrite = yes
[quantization]
method = none
[run]
compute = f32
[evaluation]
tasks = arc:arc.jsonl, piqa:piqa.jsonl, story:story.jsonl, lambada:lambada.jsonl
INI

run 1 case.ini
check 'four tasks, one rank' [ "$code" = 0 ]
cp out/tasks.csv one.csv
tasks() { json "$1" | grep '^tasks\.'; }
tasks out/summary.json >one.tasks
for np in 2 3; do
    run $np case.ini --restart no
    check "four tasks, $np ranks" [ "$code" = 0 ]
    tasks out/summary.json >more.tasks
    check "... the same figures" cmp -s one.tasks more.tasks
    check "... and log-likelihoods" cmp -s one.csv out/tasks.csv
done
# rule TEXT RULE: summary.json and log of the last run
rule() {
    check "$1: the rule in summary.json: $2" [ "$(json out/summary.json tasks.arc.rule)" = "lm-evaluation-harness $2" ]
    check '... and in the log' said "scored as lm-evaluation-harness $2"
}
rule 'a tokenizer without a template' '0.3 to 0.4.13, zero-shot, no BOS token, as the tokenizer has it'
for t in arc:3 piqa:2 storycloze:2 lambada:2; do
    check "kind ${t%:*}, ${t#*:} examples" sh -c "awk '\$2 ~ /\"${t%:*}\"/ { k = 1 } k && \$1 ~ /examples/ { exit \$2 != ${t#*:} } END { if (!k) exit 1 }' one.tasks"
done

# --- scores from the log-likelihoods, by awk --------------------------------------------------------
# score TASK COLUMN: accuracy by the largest log-likelihood, or by that per character
score() {
    awk -F, -v task="$1" -v norm="$2" '
        $1 == task { v = $8 / (norm ? $7 : 1); if (!($2 in best) || v > top[$2]) { best[$2] = $3; top[$2] = v }; gold[$2] = $4 }
        END { for (e in best) { n++; right += best[e] == gold[e] }; printf "%.9f", right / n }' one.csv
}
for t in arc piqa story; do
    check "$t: accuracy $(score $t 0)" [ "$(score $t 0)" = "$(printf %.9f "$(json out/summary.json tasks.$t.accuracy_original)")" ]
    check "$t: acc_norm $(score $t 1)" [ "$(score $t 1)" = "$(printf %.9f "$(json out/summary.json tasks.$t.acc_norm_original)")" ]
done
check 'standard error' awk -v p="$(json out/summary.json tasks.arc.accuracy_original)" -v s="$(json out/summary.json tasks.arc.stderr_original)" \
    'BEGIN { d = s - sqrt(p * (1 - p) / 2); exit !(s != "" && d < 1e-12 && d > -1e-12) }'
check 'lambada: perplexity of the last words' awk -F, -v p="$(json out/summary.json tasks.lambada.perplexity_original)" \
    '$1 == "lambada" { s += $8; n++ } END { d = p / exp(-s / n) - 1; exit !(n == 2 && d < 1e-6 && d > -1e-6) }' one.csv

# --- log-likelihoods as a difference of two perplexities --------------------------------------------
# nll TOKENS: negative log-likelihood of the first tokens of t.npy
nll() {
    run 1 case.ini --restart no --set output.path=text --set evaluation.tasks= --set evaluation.data=t:t.npy --set evaluation.length="$1"
    [ "$code" = 0 ] || bail_out "an evaluation set of $1 tokens ended with $code"
    awk -v p="$(json text/summary.json evaluation.t.perplexity_original)" -v n="$1" 'BEGIN { printf "%.9f", (n - 1) * log(p) }'
}
# likely TASK EXAMPLE CHOICE CONTEXT ID...: ids of context and continuation as the `tokenizers` library 0.23 gives them; CONTEXT: so many are the context's
likely() {
    line=$(grep "^$1,$2,$3," "$csv") what="$1 $2.$3" given=$4
    shift 4
    n=$# ids=''
    for id in "$@"; do ids="$ids $((n - $#))=$id"; shift; done
    check "$what: $given tokens given, $((n - given)) predicted" [ "$(echo "$line" | cut -d, -f5,6)" = "$given,$((n - given))" ]
    # shellcheck disable=SC2086 # a list
    forge npy t.npy i4 $n 1024 $ids
    a=$(nll "$given") b=$(nll "$n")
    check "$what: log-likelihood $(echo "$line" | cut -d, -f8) = $a - $b" awk -v a="$a" -v b="$b" -v l="$(echo "$line" | cut -d, -f8)" \
        'BEGIN { d = l - (a - b); exit !(a > 0 && b > a && d < 2e-4 && d > -2e-4) }'
}
csv=one.csv
likely arc 1 1 22 49 85 586 760 26 544 606 401 561 83 401 318 263 829 31 199 33 78 83 87 277 26 325 926 14
likely piqa 1 0 17 49 85 586 760 26 268 631 947 77 221 199 33 78 83 87 277 26 592 352 259 269 294
likely story 0 0 26 847 357 259 654 14 299 654 621 268 732 14 550 356 263 654 553 730 263 261 488 83 14 530 280 593 14 901 263 654 652 489 265 530 280 416 14
likely lambada 0 0 24 439 467 259 411 408 280 259 403 453 14 315 621 268 366 342 314 391 14 550 356 333 331 268 314 391
likely lambada 1 0 21 925 265 740 482 268 263 618 14 325 426 259 410 780 434 14 325 448 268 366 352 263 221 780 434

# --- BOS: a tokenizer whose template puts it in front (id 0), and one whose template does not ---------
cp -r "$model" front && chmod -R u+w front
awk '/"single": \[/ { print; print "{\"SpecialToken\": {\"id\": \"<|endoftext|>\", \"type_id\": 0}},"; next }
    /"special_tokens": \{\}/ { sub(/\{\}/, "{\"<|endoftext|>\": {\"id\": \"<|endoftext|>\", \"ids\": [0], \"tokens\": [\"<|endoftext|>\"]}}") } { print }' \
    "$model/tokenizer.json" >front/tokenizer.json
run 2 case.ini --restart no --set model.path=front
check 'a template with BOS' [ "$code" = 0 ]
rule '... auto' '0.4.10 to 0.4.13, zero-shot, BOS token in front, as the tokenizer has it'
cp out/tasks.csv bos.csv
csv=bos.csv
likely arc 1 1 23 0 49 85 586 760 26 544 606 401 561 83 401 318 263 829 31 199 33 78 83 87 277 26 325 926 14
likely lambada 1 0 22 0 925 265 740 482 268 263 618 14 325 426 259 410 780 434 14 325 448 268 366 352 263 221 780 434
run 1 case.ini --restart no --set model.path=front --set evaluation.tasks_bos=yes
check '... yes is the same there' cmp -s out/tasks.csv bos.csv
run 1 case.ini --restart no --set model.path=front --set evaluation.tasks_bos=no
rule '... no' '0.3 to 0.4.9 (but for Gemma, which has BOS there), zero-shot, no BOS token'
check '... is the same as without a template' cmp -s out/tasks.csv one.csv
run 1 case.ini --restart no --set evaluation.tasks_bos=yes
rule 'a template without BOS, yes' '0.4, zero-shot, but with a BOS token, which the tokenizer would not put in front'
check '... is the same as with the template' cmp -s out/tasks.csv bos.csv
rm front/tokenizer_config.json && cp "$model/tokenizer.json" front
run 3 case.ini --restart no --set output.path=none --set model.path=front --set evaluation.tasks_bos=yes
check 'yes without a BOS token' [ "$code" = 1 ]
check '... is said' said 'evaluation.tasks_bos = yes, but the tokenizer of '

# --- beside quantization, and alone on what it wrote ------------------------------------------------
quantize="--set calibration.data=$tokens/calibration.npy --set calibration.samples=16 --set quantization.method=rtn --set quantization.bits=3
    --set quantization.group_size=32 --set correction.method=none --set evaluation.task_examples=2"
# shellcheck disable=SC2086 # options
run 2 case.ini --restart no --set output.path=q $quantize
check 'beside quantization' [ "$code" = 0 ]
check '... the original model scores as before' [ "$(grep -c . q/tasks.csv)" = 18 ]
check '... line by line' sh -c 'cut -d, -f1-9 q/tasks.csv >a; cut -d, -f1-9 one.csv | grep -v "^arc,2" >b; cmp -s a b'
check '... agreement is a share' awk -v a="$(json q/summary.json tasks.arc.agreement)" 'BEGIN { exit !(a == 0 || a == 0.5 || a == 1) }'
check '... error growth over the tasks too' [ -n "$(json q/summary.json error_growth.tasks.0)" ]
run 1 case.ini --restart no --set model.path=q --set evaluation.task_examples=2
check 'the quantized directory alone' [ "$code" = 0 ]
check '... has the log-likelihoods of the quantized stream' sh -c 'cut -d, -f10-11 q/tasks.csv | tail -n +2 >a; cut -d, -f8-9 out/tasks.csv | tail -n +2 >b; cmp -s a b'
# shellcheck disable=SC2086 # options
run 1 case.ini --restart no --set output.path=d --set output.format=dense $quantize
# shellcheck disable=SC2086 # options
run 1 case.ini --restart no --set model.path=d --set output.path=again $quantize
check 'a dense result quantized once more' [ "$code" = 0 ]
check '... has a table of its own' sh -c '[ -s d/tasks.csv ] && [ -s again/tasks.csv ] && ! cmp -s d/tasks.csv again/tasks.csv'
run 1 --check again
check '... and is sound' [ "$code" = 0 ]
run 1 --convert again --format dense --output dense
check '... and a conversion takes the table along' cmp -s again/tasks.csv dense/tasks.csv
# shellcheck disable=SC2086 # options
run 1 case.ini --restart no --set output.path=again $quantize --set evaluation.tasks=
check 'without tasks in the same directory' [ "$code" = 0 ]
check '... the former table goes' [ ! -e again/tasks.csv ]
run 1 --convert again --format dense --output dense --set output.overwrite=yes
check '... and from a conversion' sh -c '[ -s dense/summary.json ] && [ ! -e dense/tasks.csv ]'

# --- bad files -------------------------------------------------------------------------------------
# bad TEXT MESSAGE: the task file bad.jsonl is refused before anything is written
bad() {
    rm -rf none
    run "${np:-1}" case.ini --set output.path=none --set evaluation.tasks=x:bad.jsonl
    check "$1" [ "$code" = 2 ]
    check "... $2" said "$2"
    [ ! -e none ] || not_ok '... but something was written'
}
line='{"query": "a", "choices": ["b", "c"], "gold": 0}'
: >bad.jsonl; bad 'empty file' 'bad.jsonl: it holds no example'
np=3 bad 'empty file on three ranks' 'bad.jsonl: it holds no example'
rm bad.jsonl; bad 'no file' 'bad.jsonl'
printf '%s\n{"query": "a", "choices": ["b", "c"]}\n' "$line" >bad.jsonl; bad 'gold missing' 'bad.jsonl, line 2: the field is missing: gold'
printf '\n{"query": "a", "choices": ["b", "c"], "gold": 2}\n' >bad.jsonl; bad 'gold out of range' 'bad.jsonl, line 2: gold = 2 is not within 0 .. 1'
echo '{"choices": ["b", "c"], "gold": 0}' >bad.jsonl; bad 'query missing' 'bad.jsonl, line 1: the field is missing: query'
echo '{"query": "a", "choices": ["b"], "gold": 0}' >bad.jsonl; bad 'one choice' 'not a list of two or more texts'
echo '{"query": "a", "choices": ["b", ""], "gold": 0}' >bad.jsonl; bad 'empty choice' 'bad.jsonl, line 1: a choice is empty'
printf '%s\n[1]\n' "$line" >bad.jsonl; bad 'no object' 'bad.jsonl, line 2: not a JSON object'
printf '%s\n{"a": \n' "$line" >bad.jsonl; bad 'no JSON' 'bad.jsonl, line 2'
echo '{"question": "a"}' >bad.jsonl; bad 'unknown kind' 'none of the fields choices (arc), goal (piqa), InputSentence1 (storycloze), text (lambada)'
printf '%s\n{"text": "a b"}\n' "$line" >bad.jsonl; bad 'two kinds in a file' 'bad.jsonl, line 2: the field is missing: choices'
echo '{"text": "word"}' >bad.jsonl; bad 'one word' 'no last word behind a blank'
echo '{"text": " word"}' >bad.jsonl; bad 'nothing in front of the last word' 'nothing stands in front of the answer'
cp piqa.jsonl bad.jsonl; bad 'labels missing' 'there is no file of labels'
echo 0 >bad-labels.lst; bad 'a label too few' 'bad-labels.lst: it has fewer labels than examples'
printf '0\n1\n1\n' >bad-labels.lst; bad 'a label too many' 'bad-labels.lst: it has more labels than examples'
printf '0\n2\n' >bad-labels.lst; bad 'a label that is none' 'bad-labels.lst, line 2: a label must be 0 or 1'
cp -r "$model" m && chmod -R u+w m && rm m/tokenizer.json
run 1 case.ini --set output.path=none --set model.path=m
check 'a model without a tokenizer' [ "$code" = 2 ]
check '... is said' said "evaluation.tasks needs the model's tokenizer"
run 1 case.ini --set output.path=none --set evaluation.tasks=arc.jsonl
check 'a task without a name' [ "$code" = 1 ]
finish
