"""What Python's random module and the tokenizers library choose from a text, as .npy for test_windows.sh.

windows.py MODEL documents TEXT OUT.jsonl LONGEST: paragraphs of TEXT joined to documents of up to LONGEST characters
windows.py MODEL RULE FILE OUT.npy SAMPLES LENGTH SEED: RULE is
  c4          random document until one has LENGTH tokens, then a random slice of it (QEP's calibration on C4)
  c4-new      the same with randint(0, n - LENGTH - 1) (GPTAQ's, ResComp's); a document of LENGTH tokens, where that fails, is passed over
  wikitext2   random slices of one text (randint(0, n - LENGTH - 1))
  sequential  slices inside documents, from the start
  packed      documents joined, an EOS token behind each when the tokenizer puts no BOS in front
SPDX-License-Identifier: Apache-2.0
"""
import json
import random
import struct
import sys

from tokenizers import Tokenizer


def documents(text, out, longest):
    rnd = random.Random(3)
    with open(text, encoding="utf-8") as f, open(out, "w", encoding="utf-8") as g:
        doc, limit = "", longest
        for line in f:
            doc += line
            if len(doc) > limit:
                g.write(json.dumps({"text": doc}) + "\n")
                doc, limit = "", rnd.randint(10, longest)


def save(path, rows):
    head = "{'descr': '<i4', 'fortran_order': False, 'shape': (%d, %d), }" % (len(rows), len(rows[0]))
    with open(path, "wb") as f:
        f.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head) + 1) + head.encode() + b"\n")
        for row in rows:
            f.write(struct.pack("<%di" % len(row), *row))


def windows(model, rule, path, samples, length, seed):
    tok = Tokenizer.from_file(model + "/tokenizer.json")
    ids = lambda text: tok.encode(text).ids
    random.seed(seed)
    with open(path, encoding="utf-8", newline="") as f:
        if rule == "wikitext2":
            all_ids = ids(f.read())
            starts = [random.randint(0, len(all_ids) - length - 1) for _ in range(samples)]
            return [all_ids[i:i + length] for i in starts]
        docs = [json.loads(line)["text"] for line in f]
    rows = []
    if rule in ("c4", "c4-new"):
        margin = 1 if rule == "c4-new" else 0
        while len(rows) < samples:
            doc = ids(docs[random.randint(0, len(docs) - 1)])
            if len(doc) < length + margin:
                continue
            i = random.randint(0, len(doc) - length - margin)
            rows.append(doc[i:i + length])
        return rows
    if rule == "sequential":
        for doc in map(ids, docs):
            rows += [doc[i:i + length] for i in range(0, len(doc) - length + 1, length)]
        return rows[:samples]
    with open(model + "/tokenizer_config.json", encoding="utf-8") as f:
        config = json.load(f)
    bos, eos = (tok.token_to_id(config[k]) for k in ("bos_token", "eos_token"))
    line = []
    for doc in map(ids, docs):
        line += doc if ids("a")[0] == bos else doc + [eos]
    return [line[i * length:(i + 1) * length] for i in range(samples)]


if sys.argv[2] == "documents":
    documents(sys.argv[3], sys.argv[4], int(sys.argv[5]))
else:
    save(sys.argv[4], windows(sys.argv[1], sys.argv[2], sys.argv[3], *map(int, sys.argv[5:8])))
