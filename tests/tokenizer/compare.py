#!/usr/bin/env python3
"""Compares qep_mpi's tokenizer with the tokenizers library, id by id, and prints TAP.
compare.py SERVE SHARED TEXTS SECONDS: SERVE is tests/tokenizer/serve.c built; SHARED the folder beside the repository (tokenizers, texts and vectors under
SHARED/data; what is not there is skipped); TEXTS 0 or 1: the texts whole; SECONDS: of random texts for each tokenizer.
Bytes that are no UTF-8 reach the library as bytes.decode("utf-8", errors="replace"). SPDX-License-Identifier: Apache-2.0"""
import base64, glob, json, os, random, struct, subprocess, sys, tempfile, time
import tokenizers
from tokenizers import Tokenizer, AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors

serve_path, shared, whole_texts, seconds = sys.argv[1], sys.argv[2] + "/data/", sys.argv[3] == "1", float(sys.argv[4])
tmp = tempfile.TemporaryDirectory()
count = failed = 0
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


class Serve:
    def __init__(self, path):
        self.p = subprocess.Popen([serve_path, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, kind, data):
        self.p.stdin.write(struct.pack("=qq", kind, len(data)) + data)
        self.p.stdin.flush()
        n, = struct.unpack("=q", self.p.stdout.read(8))
        if n < 0:
            n, = struct.unpack("=q", self.p.stdout.read(8))
            raise RuntimeError(self.p.stdout.read(n).decode())
        return self.p.stdout.read(n)

    def encode(self, data, special=True, parts=False):
        got = self.ask(4 if parts else 1 if special else 0, data)
        return list(struct.unpack("=%di" % (len(got) // 4), got))

    def decode(self, ids, skip):
        return self.ask(3 if skip else 2, struct.pack("=%di" % len(ids), *ids)).decode()


def ok(good, name, why=""):
    global count, failed
    count += 1
    failed += not good
    print(("ok" if good else "not ok"), count, "-", name, flush=True)
    if not good and why:
        print("#", why)


def skip(name, why):
    global count
    count += 1
    print("ok", count, "-", name, "# SKIP", why, flush=True)


def difference(serve, lib, data):
    """None, or what differs for these bytes."""
    mine, want = serve.encode(data), lib.encode(data.decode("utf-8", errors="replace")).ids
    if mine != want:
        i = next((i for i, (a, b) in enumerate(zip(mine, want)) if a != b), min(len(mine), len(want)))
        return "%r: from id %d on %s, wanted %s" % (data[:200], i, mine[i:i + 8], want[i:i + 8])
    if serve.encode(data, parts=True) != want:
        return "%r: other ids in parts" % data[:200]
    ids = want[:20000]
    for skip_special in (False, True):
        got, text = serve.decode(ids, skip_special), lib.decode(ids, skip_special_tokens=skip_special)
        if got != text:
            i = next((i for i, (a, b) in enumerate(zip(got, text)) if a != b), min(len(got), len(text)))
            return "%r: decoded, from character %d on %r, wanted %r" % (data[:100], i, got[i:i + 20], text[i:i + 20])
    return None


# --- random texts: what is known to be difficult, more often than chance would ---

SPECIAL = ["\u00a0", "\u180e", "\u2003", "\u3000", "\u200b", "\u200d", "\ufeff", "\u017f", "\u212a", "\u0345", "\u0301", "\u0327", "\u0323", "e\u0301", "\ufb01",
           "\u1100\u1161\u11a8", "\uac00", "\u0958", "\u2126", "\u00b2", "\u2167", "\u2460", "\U0001f469\u200d\U0001f467", "\ufffd", "\u2581", " \u2581", "\r\n", "\n\n", "\t", "  ",
           "   ", "'s", "'LL", "'\u017f", "12345", "1.5", "<", ">", "_", "\x00", "\x1c", "\x85", "\u2028", "\u0130", "\u01c5", "\U000105c0", "\U0002ebf0", "\U00011f50", "\U0001cd00",
           "\u0897", "\U000113b8", "\U00011930\U00011935"]


def random_char(r):
    k = r.random()
    if k < 0.35:
        return chr(r.randrange(32, 127))
    if k < 0.5:
        return r.choice(SPECIAL)
    if k < 0.65:
        return chr(r.randrange(0x80, 0x800))
    if k < 0.85:
        return chr(r.choice([r.randrange(0x800, 0xd800), r.randrange(0xe000, 0x10000)]))
    return chr(r.randrange(0x10000, 0x110000))


def random_text(r, words):
    parts = []
    for _ in range(r.randrange(1, 60)):
        k = r.random()
        if k < 0.1 and words:
            parts.append(r.choice(words))
        elif k < 0.3:
            parts.append(r.choice(["the", " of", " Robert", "ing", " ", "  ", "\n", " don't", "Hello", " 42", "aaaaaaaa"]))
        elif k < 0.4:
            parts.append(random_char(r) * r.randrange(1, 40))
        else:
            parts.append(random_char(r))
    data = "".join(parts).encode("utf-8")
    if r.random() < 0.3:
        b = bytearray(data)
        for _ in range(r.randrange(1, 6)):
            at = r.randrange(len(b) + 1)
            k = r.random()
            if k < 0.4:
                b[at:at] = bytes([r.randrange(128, 256)])
            elif k < 0.7:
                del b[at:at + r.randrange(1, 4)]
            else:
                b[at:at] = r.choice([b"\xe4\xb8", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\xe0\x9f\xbf", b"\xff", b"\xc3"])
        data = bytes(b)
    return data


def fuzz(name, serve, lib, words):
    r = random.Random("qep " + name)
    end, n, why = time.time() + seconds, 0, None
    while why is None and (n < 50 or time.time() < end):
        why = difference(serve, lib, random_text(r, words))
        n += 1
    ok(why is None, "%s: random texts agree" % name, why)
    print("# %d texts" % n)


# --- tokenizers ---

def save(name, lib):
    path = "%s/%s.json" % (tmp.name, name)
    lib.save(path)
    return path


def llama3(model):
    """Merges from tiktoken's ranks: the two parts that a token was made of are what the lower ranks make of it."""
    ranks = {base64.b64decode(a): int(b) for a, b in (l.split() for l in open(model) if l.strip())}
    alphabet = {b: pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(chr(b))[0][0] for b in range(128)}
    kept = list(range(0x21, 0x7f)) + list(range(0xa1, 0xad)) + list(range(0xae, 0x100))
    alphabet.update({b: chr(b) for b in kept})
    alphabet.update({b: chr(256 + i) for i, b in enumerate(b for b in range(256) if b not in kept)})
    name = lambda token: "".join(alphabet[b] for b in token)
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda x: x[1]):
        parts = [bytes([b]) for b in token]
        while len(parts) > 2:
            best = min(((ranks.get(parts[i] + parts[i + 1], 1 << 30), i) for i in range(len(parts) - 1)))
            if best[0] >= rank:
                break
            parts[best[1]:best[1] + 2] = [parts[best[1]] + parts[best[1] + 1]]
        if len(parts) == 2:
            merges.append((name(parts[0]), name(parts[1])))
    t = Tokenizer(models.BPE({name(k): v for k, v in ranks.items()}, merges, ignore_merges=True))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>"] + ["<|reserved_special_token_%d|>" % i for i in range(6)])
    t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
        single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|> $B", special_tokens=[("<|begin_of_text|>", 128000)])])
    return t


def llama2(path):
    """Llama-2's tokenizer.json as it was published before merges were pairs. Three of its merges have tokens with a blank in them, which a line with
    one blank cannot hold: the library refuses such a file, and so does qep_mpi. Its newer form is compared: pairs, of the one cut that gives two tokens."""
    j = json.load(open(path, encoding="utf-8"))
    vocab, pairs = j["model"]["vocab"], []
    for line in j["model"]["merges"]:
        cuts = [(line[:i], line[i + 1:]) for i, c in enumerate(line) if c == " "]
        cuts = [p for p in cuts if p[0] in vocab and p[1] in vocab and p[0] + p[1] in vocab]
        assert len(cuts) == 1, line
        pairs += cuts
    j["model"]["merges"] = pairs
    out = "%s/llama2.json" % tmp.name
    json.dump(j, open(out, "w", encoding="utf-8"))
    refused = [subprocess.run([serve_path, path], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE).stderr.decode()]
    try:
        Tokenizer.from_file(path)
    except Exception as e:
        refused.append(str(e))
    ok(len(refused) == 2 and "model.merges[18917]" in refused[0], "llama2: merges with blanks in their tokens are refused by both", repr(refused))
    return out


def small(normalizer=None, pre=None, decoder=None, tokens=(), **options):
    """A few merges over letters, marks and blanks, with bytes, so that every part has something to do."""
    pieces = ["<unk>"] + ["<0x%02X>" % b for b in range(256)] if options.get("byte_fallback") else ["<unk>"]
    pieces += list("abcdehlorst \u2581.,'12345-<>\u00e9\u0301\u0120\u010a") + ["he", "ll", "hell", "hello", "or", "th", "the", "\u2581the", "\u2581\u2581", "12", "123", "aa", "aaaa", "\u0120the"]
    merges = [("l", "l"), ("h", "e"), ("he", "ll"), ("hell", "o"), ("o", "r"), ("t", "h"), ("t", "he"), ("\u2581", "the"), ("\u2581", "\u2581"), ("1", "2"), ("12", "3"), ("a", "a"),
              ("aa", "aa"), ("\u0120", "the")]
    t = Tokenizer(models.BPE({p: i for i, p in enumerate(pieces)}, merges, unk_token="<unk>", **options))
    if normalizer:
        t.normalizer = normalizer
    if pre:
        t.pre_tokenizer = pre
    if decoder:
        t.decoder = decoder
    for token in tokens:
        t.add_tokens([token])
    return t


def small_ones():
    N, P = normalizers, pre_tokenizers
    flags = [AddedToken("<l>", lstrip=True, normalized=False), AddedToken("<r>", rstrip=True, normalized=False), AddedToken("<lr>", lstrip=True, rstrip=True, special=True),
             AddedToken("he", single_word=True, normalized=False), AddedToken("<l><l>", normalized=False), AddedToken("\n", normalized=False), AddedToken("th e", normalized=True),
             AddedToken("the12", single_word=True, lstrip=True, normalized=True)]
    spm = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    yield "plain", small()
    yield "fused unk", small(fuse_unk=True)
    yield "bytes", small(byte_fallback=True, fuse_unk=True, decoder=spm)
    for scheme in ("always", "first", "never"):
        for split in (True, False):
            yield "metaspace %s %s" % (scheme, split), small(None, P.Metaspace("\u2581", scheme, split), decoders.Metaspace("\u2581", scheme, split), flags, byte_fallback=True)
    yield "older form", small(N.Sequence([N.Prepend("\u2581"), N.Replace(" ", "\u2581")]), None, spm, flags, byte_fallback=True, fuse_unk=True)
    for n in ("NFC", "NFD", "NFKC", "NFKD"):
        yield n, small(getattr(N, n)(), tokens=flags, byte_fallback=True)
    yield "strip", small(N.Sequence([N.Strip(True, False), N.Replace(Regex("[0-9]{2,3}|the"), "<r>")]), tokens=flags)
    yield "strip right", small(N.Strip(False, True), P.WhitespaceSplit())
    yield "digits", small(None, P.Sequence([P.Digits(True), P.ByteLevel(add_prefix_space=True)]), decoders.ByteLevel())
    yield "digit runs", small(None, P.Sequence([P.ByteLevel(add_prefix_space=False), P.Digits(False)]), decoders.ByteLevel(), flags)
    yield "byte normalizer", small(N.ByteLevel(), P.Split("\u0120", "merged_with_next"), decoders.ByteLevel(), flags)
    for behavior in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"):
        for invert in (True, False):
            yield "split %s %s" % (behavior, invert), small(None, P.Split(Regex(r"\p{N}|[\p{P}\p{S}]+|\s"), behavior, invert))
    yield "qwen3.5", small(None, P.Sequence([P.Split(Regex(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"), "isolated"),
                                             P.ByteLevel(add_prefix_space=False, use_regex=False)]), decoders.ByteLevel())
    yield "deepseek", small(None, P.Sequence([P.Split(Regex(r"\p{N}{1,3}"), "isolated"), P.Split(Regex("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"), "isolated"),
                                              P.Split(Regex("[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"), "isolated"),
                                              P.ByteLevel(add_prefix_space=False, use_regex=False)]), decoders.ByteLevel())
    yield "gpt-4o", small(None, P.Sequence([P.Split(Regex(r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"), "isolated"),
                                            P.ByteLevel(add_prefix_space=False, use_regex=False)]), decoders.ByteLevel())


def every_character():
    """Each code point between letters, blanks and digits, through classes of characters and a token that must stand alone, 256 of them a text."""
    P = pre_tokenizers
    lib = small(None, P.Sequence([P.Split(Regex(r"\p{L}+|\p{N}+|\p{M}+|[\p{P}]+|\p{S}+|\s+|\p{Z}|\p{Nd}"), "isolated")]), tokens=[AddedToken("the", single_word=True, normalized=False)], ignore_merges=True)
    forms = [small(getattr(normalizers, n)(), byte_fallback=True) for n in ("NFC", "NFD", "NFKC", "NFKD")]
    for name, t, pattern in [("every code point, between others", lib, "a%c1%c %cthe the%c")] + [("every code point, normalized", t, "%ca\u0345%c\u0301%c\u0327") for t in forms]:
        serve, why = Serve(save("every", t)), None
        for first in range(0, 0x110000, 256):
            text = "\n".join(pattern % ((c,) * pattern.count("%c")) for c in range(first, first + 256) if not 0xd800 <= c < 0xe000)
            why = why or difference(serve, t, text.encode())
        ok(why is None, name, why)


# --- what is compared ---

def vectors(name, lib, serve, file):
    texts = open(file + ".inp", encoding="utf-8", newline="").read().split("\n__ggml_vocab_test__\n")[:-1]
    lines = open(file + ".out").read().split("\n")
    bad = [t for t, l in zip(texts, lines) if serve.encode(t.encode(), False) != [int(x) for x in l.split()]]
    ok(len(texts) > 40 and not bad, "%s: %d vectors of llama.cpp" % (name, len(texts)), repr(bad[:2]))


def one(name, path, words=()):
    lib, serve = Tokenizer.from_file(path), Serve(path)
    edge = [b"", b" ", b"\n", b"\xff", b"a" * 100000, b" " * 100000, ("\u2581" * 1000).encode(), b"ab" * 50000 + b"\n"]
    why = next((w for w in (difference(serve, lib, x) for x in edge) if w), None)
    ok(why is None, "%s: edges agree" % name, why)
    fuzz(name, serve, lib, list(words) + [t.content for t in lib.get_added_tokens_decoder().values()])
    return lib, serve


def main():
    print("# tokenizers", tokenizers.__version__)
    paths = {"bundled": "tests/data/quickstart/tokenizer.json"}
    for name in ("gpt2", "qwen2", "phi3"):
        paths[name] = shared + "tokenizers/%s/tokenizer.json" % name
    if os.path.exists(shared + "tokenizers/llama3/tokenizer.model"):
        paths["llama3"] = save("llama3", llama3(shared + "tokenizers/llama3/tokenizer.model"))
    else:
        skip("llama3", "no %stokenizers/llama3" % shared)
    if os.path.exists(shared + "tokenizers/llama2/hf-tokenizer.json"):
        paths["llama2"] = llama2(shared + "tokenizers/llama2/hf-tokenizer.json")
    else:
        skip("llama2", "no %stokenizers/llama2" % shared)
    texts = sorted(glob.glob(shared + "text/*/*")) if whole_texts else []
    for name, path in paths.items():
        if not os.path.exists(path):
            skip(name, "no " + path)
            continue
        lib, serve = one(name, path)
        for text in texts:
            why = difference(serve, lib, open(text, "rb").read())
            ok(why is None, "%s: %s whole" % (name, os.path.relpath(text, shared)), why)
        for v in {"gpt2": ["gpt-2"], "qwen2": ["qwen2"], "phi3": ["phi-3", "llama-spm"], "llama2": ["llama-spm"], "llama3": ["llama-bpe"]}.get(name, []):
            vectors(name, lib, serve, shared + "tokenizers/vectors/llama.cpp/ggml-vocab-%s.gguf" % v)
        if name == "llama3":
            folder = shared + "tokenizers/vectors/swift-transformers/"
            j = json.load(open(folder + "llama_3.2_encoded.json"))
            sets = [(j["text"], j["token_ids"])] + [(x["input"], x["encoded"]["input_ids"]) for x in json.load(open(folder + "tokenizer_tests.json"))["pcuenq/Llama-3.2-1B-Instruct-tokenizer"]]
            bad = [t for t, ids in sets if serve.encode(t.encode()) != ids]
            ok(len(sets) == 19 and not bad, "llama3: vectors of swift-transformers", repr(bad[:2]))
    words = ["<l>", "<r>", "<lr>", " <lr> ", "he", "the12", "th e", "hello", " the", "\u2581the", "123", "e\u0301"]
    for name, lib in small_ones():
        one(name, save(name.replace(" ", "_"), lib), words)
    every_character()
    print("1..%d" % count)
    return failed != 0


sys.exit(main())
