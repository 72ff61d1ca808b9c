"""Choice tasks by lm-evaluation-harness's rule on transformers, beside tasks.csv of a run: tasks.py MODEL OUT TOLERANCE NAME=FILE...
Prompts, the cut between context and continuation, and the figures are written down here once more, from the harness's description of the tasks.
SPDX-License-Identifier: Apache-2.0"""
import csv
import json
import math
import os
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


def encode(tokenizer, context, continuation):
    kept = context.rstrip()
    whole = tokenizer.encode(context + continuation, add_special_tokens=False)
    first = tokenizer.encode(kept, add_special_tokens=False)
    return first, whole[len(first):]


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


def compare(model, tokenizer, name, file, rows, summary, tolerance):
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
            first, rest = encode(tokenizer, context, c)
            assert len(rest) == int(row["tokens"]), (name, i, c)
            ll, greedy = log_likelihood(model, first, rest)
            p.append(ll)
            worst = max(worst, abs(ll - float(row["loglikelihood_original"])) / max(1.0, len(rest)))
            assert len(choices) > 1 or greedy == bool(int(row["greedy_original"])), (name, i)
        n, total = n + 1, total + p[0]
        right += greedy if len(choices) == 1 else p.index(max(p)) == gold
        q = [x / len(c[1:]) for x, c in zip(p, choices)]
        norm += q.index(max(q)) == gold
    figures = summary["tasks"][name]
    print(f"{name}: {n} examples, accuracy {right / n:.6f} ({figures['accuracy_original']:.6f}), acc_norm {norm / n:.6f} "
          f"({figures.get('acc_norm_original')}), log-likelihood per token differs by at most {worst:.2g}")
    bad = check(f"{name}: examples", n != figures["examples"] and f"{n} are not {figures['examples']}")
    bad |= check(f"{name}: log-likelihoods", not worst <= tolerance and f"{worst} > {tolerance}")
    bad |= check(f"{name}: accuracy", right / n != figures["accuracy_original"] and f"{right / n}")
    bad |= check(f"{name}: standard error",
                 not math.isclose(figures["stderr_original"], math.sqrt(right / n * (1 - right / n) / (n - 1)), rel_tol=1e-9) and "differs")
    if "acc_norm_original" in figures:
        return bad | check(f"{name}: acc_norm", norm / n != figures["acc_norm_original"] and f"{norm / n}")
    return bad | check(f"{name}: perplexity", not math.isclose(math.exp(-total / n), figures["perplexity_original"], rel_tol=1e-4) and f"{total}")


def main(path, out, tolerance, *tasks):
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=os.path.join(path, "tokenizer.json"))
    rows = list(csv.DictReader(open(os.path.join(out, "tasks.csv"))))
    summary = json.load(open(os.path.join(out, "summary.json")))
    bad = False
    for task in tasks:
        name, file = task.split("=", 1)
        bad |= compare(model, tokenizer, name, file, rows, summary, float(tolerance))
    return bad


sys.exit(main(*sys.argv[1:]))
