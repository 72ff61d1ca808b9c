"""Choice tasks by lm-evaluation-harness's rule on transformers, beside tasks.csv of a run.

tasks.py MODEL OUT TOLERANCE STREAM BOS NAME=FILE...: STREAM original or quantized, the columns of OUT that MODEL is compared with; BOS: as
    evaluation.tasks_bos of the run: auto, yes, no
tasks.py stories TEXT OUT.jsonl: examples in StoryCloze's format from paragraphs of five sentences and more, the false ending from the next one
Prompts, the cut between context and continuation, and the figures are written down here once more, from the harness's description of the tasks.
SPDX-License-Identifier: Apache-2.0"""
import csv
import json
import math
import os
import re
import sys

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast


def examples(file):
    """(context, continuations with their blank, gold) of each line."""
    labels = iter(())
    names = file[: -len(".jsonl")] + "-labels.lst"
    if os.path.exists(names):
        labels = iter(open(names).read().split())
    for line in open(file, encoding="utf-8"):
        o = json.loads(line)
        if "choices" in o:
            yield f"Question: {o['query']}\nAnswer:", [" " + c for c in o["choices"]], o["gold"]
        elif "goal" in o:
            yield f"Question: {o['goal']}\nAnswer:", [" " + o["sol1"], " " + o["sol2"]], int(next(labels))
        elif "InputSentence1" in o:
            yield (" ".join(o[f"InputSentence{i}"] for i in range(1, 5)),
                   [" " + o[f"RandomFifthSentenceQuiz{i}"] for i in (1, 2)], int(o["AnswerRightEnding"]) - 1)
        else:
            words = o["text"].split(" ")
            yield " ".join(words[:-1]), [" " + words[-1]], 0


def encoder(tokenizer, path, bos):
    """The function from a text to its ids."""
    special, front = bos != "no", []
    if bos == "yes":
        config = json.load(open(os.path.join(path, "tokenizer_config.json")))
        one = tokenizer.convert_tokens_to_ids(config["bos_token"])
        front = [] if tokenizer.encode("a", add_special_tokens=True)[0] == one else [one]
    return lambda text: front + tokenizer.encode(text, add_special_tokens=special)


def parts(encode, context, continuation):
    first = encode(context.rstrip())
    return first, encode(context + continuation)[len(first):]


def log_likelihood(model, first, rest):
    ids = (first + rest)[-(model.config.max_position_embeddings + 1):]
    with torch.no_grad():
        logits = model(torch.tensor([ids[:-1]])).logits[0, -len(rest):].double()
    target = torch.tensor(rest)
    p = torch.log_softmax(logits, -1).gather(1, target[:, None]).sum().item()
    return p, bool((logits.argmax(-1) == target).all())


def check(name, wrong):
    print(f"{name}: {wrong}" if wrong else f"{name}: ok")
    return bool(wrong)


def compare(model, encode, name, file, stream, rows, summary, tolerance):
    worst, right, norm, n, total = 0.0, 0, 0, 0, 0.0
    by_example = {}
    for row in rows:
        if row["task"] == name:
            by_example.setdefault(int(row["example"]), []).append(row)
    for i, (context, choices, gold) in enumerate(examples(file)):
        if i not in by_example:
            break
        mine, p = by_example[i], []
        for row, c in zip(mine, choices, strict=True):
            first, rest = parts(encode, context, c)
            assert len(rest) == int(row["tokens"]), (name, i, c)
            ll, greedy = log_likelihood(model, first, rest)
            p.append(ll)
            worst = max(worst, abs(ll - float(row["loglikelihood_" + stream])) / max(1.0, len(rest)))
            assert len(choices) > 1 or greedy == bool(int(row["greedy_" + stream])), (name, i)
        n, total = n + 1, total + p[0]
        right += greedy if len(choices) == 1 else p.index(max(p)) == gold
        q = [x / len(c[1:]) for x, c in zip(p, choices)]
        norm += q.index(max(q)) == gold
    figures = {k.removesuffix("_" + stream): v for k, v in summary["tasks"][name].items()}
    print(f"{name}: {n} examples, accuracy {right / n:.6f} ({figures['accuracy']:.6f}), acc_norm {norm / n:.6f} "
          f"({figures.get('acc_norm')}), log-likelihood per token differs by at most {worst:.2g}")
    bad = check(f"{name}: examples", n != figures["examples"] and f"{n} are not {figures['examples']}")
    bad |= check(f"{name}: log-likelihoods", not worst <= tolerance and f"{worst} > {tolerance}")
    bad |= check(f"{name}: accuracy", right / n != figures["accuracy"] and f"{right / n}")
    bad |= check(f"{name}: standard error",
                 not math.isclose(figures["stderr"], math.sqrt(right / n * (1 - right / n) / (n - 1)), rel_tol=1e-9) and "differs")
    if "acc_norm" in figures:
        return bad | check(f"{name}: acc_norm", norm / n != figures["acc_norm"] and f"{norm / n}")
    return bad | check(f"{name}: perplexity", not math.isclose(math.exp(-total / n), figures["perplexity"], rel_tol=1e-4) and f"{total}")


def stories(text, out):
    paragraphs = []
    for p in open(text, encoding="utf-8").read().split("\n\n"):
        sentences = re.findall(r"[^.!?]+[.!?]+[\"']?(?=\s|$)", " ".join(p.split()))
        if len(sentences) >= 5:
            paragraphs.append([s.strip() for s in sentences[:5]])
    with open(out, "w", encoding="utf-8") as f:
        for i, p in enumerate(paragraphs[:-1]):
            endings = [p[4], paragraphs[i + 1][4]]
            right = i % 3 % 2 # 1 2 1 1 2 1 ..., as a number or as text
            example = {f"InputSentence{k + 1}": p[k] for k in range(4)}
            example |= {f"RandomFifthSentenceQuiz{k + 1}": endings[k ^ right] for k in range(2)}
            f.write(json.dumps(example | {"AnswerRightEnding": right + 1 if i % 2 else str(right + 1)}) + "\n")


def main(path, out, tolerance, stream, bos, *tasks):
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=os.path.join(path, "tokenizer.json"))
    encode = encoder(tokenizer, path, bos)
    rows = list(csv.DictReader(open(os.path.join(out, "tasks.csv"))))
    summary = json.load(open(os.path.join(out, "summary.json")))
    bad = False
    for task in tasks:
        name, file = task.split("=", 1)
        bad |= compare(model, encode, name, file, stream, rows, summary, float(tolerance))
    return bad


if sys.argv[1] == "stories":
    stories(*sys.argv[2:])
else:
    sys.exit(main(*sys.argv[1:]))
