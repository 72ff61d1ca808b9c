"""broken_rules.py DIR: a broken example of every rule of vllm_rules.py, made from the sound outputs DIR/gptq, asym, moe, ct, grouped, awq, and what the script says of it: that rule is
among those that it names. One line each: "ok TEXT" or "not_ok TEXT". SPDX-License-Identifier: Apache-2.0"""
import json
import os
import shutil
import struct
import sys

import vllm_rules

Q = "model.layers.0.self_attn.q_proj"
UP = "model.layers.1.mlp.up_proj"
EXPERT = "model.layers.1.mlp.experts.2.up_proj"


# --- what is changed ---------------------------------------------------------------------------


def config(change):
    """change(c, q) of config.json; quantize_config.json follows."""

    def apply(d):
        path = os.path.join(d, "config.json")
        c = json.load(open(path))
        change(c, c["quantization_config"])
        json.dump(c, open(path, "w"))
        alone = os.path.join(d, "quantize_config.json")
        if os.path.exists(alone):
            json.dump(c.get("quantization_config"), open(alone, "w"))

    return apply


def read(path):
    data = open(path, "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + n]), data[8 + n :]


def write(path, h, data, pad=0):
    text = json.dumps(h).encode()
    text += b" " * (-len(text) % 8 + pad)
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + data)


def shards(d):
    return sorted(os.path.join(d, f) for f in os.listdir(d) if f.endswith(".safetensors"))


def header(change, pad=0):
    """change(h) of the header of the first file."""

    def apply(d):
        h, data = read(shards(d)[0])
        change(h)
        write(shards(d)[0], h, data, pad)

    return apply


def tensors(change):
    """change(t) of {name: [dtype, shape, bytes]} of a single file, written anew without holes."""

    def apply(d):
        path = shards(d)[0]
        h, data = read(path)
        meta = h.pop("__metadata__")
        t = {k: [v["dtype"], v["shape"], bytearray(data[slice(*v["data_offsets"])])] for k, v in h.items()}
        change(t)
        out, at = {"__metadata__": meta}, 0
        for k, (dtype, shape, b) in sorted(t.items(), key=lambda x: -vllm_rules.SIZE[x[1][0]]):
            out[k] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(b)]}
            at += len(b)
        write(path, out, b"".join(bytes(t[k][2]) for k in out if k != "__metadata__"))

    return apply


def index(change):
    def apply(d):
        path = os.path.join(d, "model.safetensors.index.json")
        i = json.load(open(path))
        change(i["weight_map"])
        json.dump(i, open(path, "w"))

    return apply


def poke(name, at, data):
    def change(t):
        t[name][2][at : at + len(data)] = data

    return tensors(change)


def rename(old, new):
    def change(t):
        t[new] = t.pop(old)

    return tensors(change)


def drop(*names):
    def change(t):
        for n in names:
            t.pop(n)

    return tensors(change)


def file(name, text, mode="w"):
    return lambda d: open(os.path.join(d, name), mode).write(text)


def forget_expert(d):
    h, data = read(shards(d)[-1])
    name = next(n for n in h if ".experts." in n and n.endswith(".qweight"))
    h[name.replace("experts", "others")] = h.pop(name)
    write(shards(d)[-1], h, data)


def stack_experts(d):
    h, data = read(shards(d)[0])
    first = next(n for n in h if n != "__metadata__" and len(h[n]["shape"]) == 2)
    h["model.layers.0.mlp.experts.gate_up_proj"] = {**h[first], "shape": [1] + h[first]["shape"]}
    del h[first]
    write(shards(d)[0], h, data)


def cut(d):
    data = open(shards(d)[0], "rb").read()
    open(shards(d)[0], "wb").write(struct.pack("<Q", 1 << 40) + data[8:])


def rule_of(q, name):
    return next(k for k in q["dynamic"] if name.replace(".", "\\.") + "$" in k)


def without(part):
    """The configuration loses its pattern for the name of the whole."""
    return config(lambda c, q: q["dynamic"].pop(rule_of(q, part)))


def twice(d):
    h, data = read(shards(d)[0])
    g, more = read(shards(d)[1])
    name = next(n for n in h if n != "__metadata__")
    b, e = h[name]["data_offsets"]
    g[name] = {**h[name], "data_offsets": [len(more), len(more) + e - b]}
    write(shards(d)[1], g, more + data[b:e])


def weights(q):
    return q["config_groups"]["group_0"]["weights"]


FUSED_PARTS = lambda c, q: q["dynamic"].update({"+:^" + Q.replace(".", "\\.") + "$": {"bits": 4}})
EXAMPLES = [  # rule, output, change
    ("header", "gptq", cut),
    ("header", "gptq", lambda d: open(shards(d)[0], "r+b").write(struct.pack("<Q", 8) + b"[1,2,3] ")),
    ("offsets", "gptq", header(lambda h: h.pop(UP + ".qzeros"))),
    ("offsets", "gptq", header(lambda h: h[UP + ".qzeros"].update(shape=[1, 2]))),
    ("aligned", "gptq", header(lambda h: None, pad=1)),
    ("length", "gptq", file("model.safetensors", "x", "a")),
    ("metadata", "gptq", header(lambda h: h["__metadata__"].pop("format"))),
    ("one-place", "moe", twice),
    ("index", "moe", lambda d: shutil.copy(shards(d)[0], os.path.join(d, "old.safetensors"))),
    ("index", "moe", lambda d: os.remove(os.path.join(d, "model.safetensors.index.json"))),
    ("index", "gptq", lambda d: os.rename(os.path.join(d, "model.safetensors"), os.path.join(d, "weights.safetensors"))),
    ("weight-map", "moe", index(lambda m: m.update({"model.norm.weight": next(f for f in m.values() if f != m["model.norm.weight"])}))),
    ("no-copy", "gptq", lambda d: shutil.copy(shards(d)[0], os.path.join(d, "consolidated.safetensors"))),
    ("dtypes", "gptq", tensors(lambda t: t.update({"model.layers.0.extra.weight": ["I8", [4], bytearray(4)]}))),
    ("dtypes", "ct", tensors(lambda t: t.update({"model.layers.0.extra.weight": ["F8_E4M3", [4], bytearray(4)]}))),
    ("method", "gptq", config(lambda c, q: c.pop("quantization_config"))),
    ("method", "gptq", config(lambda c, q: q.update(quant_method="exl2"))),
    ("tied", "gptq", config(lambda c, q: c.update(tie_word_embeddings=True))),
    ("scales", "gptq", poke(UP + ".scales", 6, b"\x00\x00")),
    ("scales", "ct", poke(UP + ".weight_scale", 0, b"\x00\x7c")),
    ("scales", "awq", lambda d: poke(next(n for n in read(shards(d)[0])[0] if n.endswith(".scales")), 0, b"\x00\xfc")(d)),
    ("zero-points", "gptq", poke(UP + ".qzeros", 0, b"\x88\x88\x88\x88")),
    ("zero-points", "gptq", config(lambda c, q: q.update(checkpoint_format="gptq_v2"))),
    ("zero-points", "asym", poke(UP + ".qzeros", 0, b"\xff")),
    ("fused", "gptq", config(FUSED_PARTS)),
    ("fused", "gptq", config(lambda c, q: q["dynamic"].update({"-:never": {}}) or q["dynamic"].pop(rule_of(q, "k_proj")))),
    ("fused", "ct", config(lambda c, q: q["ignore"].append(Q))),
    ("fused", "awq", config(lambda c, q: q["modules_to_not_convert"].append(Q))),
    ("experts", "moe", config(lambda c, q: q["dynamic"].pop(rule_of(q, EXPERT)))),
    ("all-experts", "moe", forget_expert),
    ("all-experts", "moe", stack_experts),
    ("router", "moe", lambda d: [header(lambda h: h.update({n.replace("gate.weight", "gate.qweight"): h.pop(n) for n in [n for n in h if n.endswith(".mlp.gate.weight")]}))(d),
                                 [write(s, {n.replace("mlp.gate.weight", "mlp.gate.qweight"): v for n, v in read(s)[0].items()}, read(s)[1]) for s in shards(d)]]),
    ("gptq-keys", "gptq", config(lambda c, q: q.pop("desc_act"))),
    ("gptq-version", "gptq", config(lambda c, q: q.update(checkpoint_format="marlin"))),
    ("gptq-version", "gptq", config(lambda c, q: q.update(pack_dtype="int16"))),
    ("gptq-quantized", "gptq", config(lambda c, q: q.update(dynamic={**q["dynamic"], **{"-:.*up_proj$": {}}}))),
    ("gptq-quantized", "gptq", config(lambda c, q: q["dynamic"].pop(next(k for k in q["dynamic"] if k.startswith("-:"))))),
    ("gptq-quantized", "gptq", config(lambda c, q: q.update(lm_head=True))),
    ("gptq-quantized", "gptq", config(lambda c, q: q.update(modules_in_block_to_quantize=[["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]]))),
    ("gptq-asked", "gptq", without("qkv_proj")),
    ("gptq-asked", "moe", without("mlp.experts")),
    ("gptq-group", "gptq", config(lambda c, q: q.update(group_size=48))),
    ("gptq-words", "gptq", tensors(lambda t: t.update({UP + ".g_idx": ["I32", [40], t[UP + ".g_idx"][2][:160]]}))),
    ("gptq-shapes", "gptq", config(lambda c, q: q.update(group_size=64))),
    ("gptq-shapes", "gptq", config(lambda c, q: q.update(bits=2))),
    ("gptq-shapes", "gptq", drop(UP + ".qzeros")),
    ("gptq-shapes", "gptq", tensors(lambda t: t[UP + ".scales"].__setitem__(0, "BF16"))),
    ("gptq-order", "gptq", poke(UP + ".g_idx", 0, b"\x01\x00\x00\x00")),
    ("gptq-order", "gptq", poke(UP + ".g_idx", 0, b"\x63\x00\x00\x00")),
    ("gptq-alone", "gptq", file("quantize_config.json", "{}")),
    ("ct-format", "ct", config(lambda c, q: q.update(format="naive-quantized"))),
    ("ct-format", "ct", config(lambda c, q: q.update(quantization_status="frozen"))),
    ("ct-keys", "ct", config(lambda c, q: weights(q).update(scale_dtype=None))),
    ("ct-keys", "ct", config(lambda c, q: q["config_groups"]["group_0"].update(format="pack-quantized"))),
    ("ct-keys", "ct", config(lambda c, q: weights(q).update(type="float"))),
    ("ct-order", "ct", config(lambda c, q: weights(q).update(actorder="group"))),
    ("ct-order", "ct", tensors(lambda t: t.update({UP + ".weight_g_idx": ["I32", [64], bytearray(256)]}))),
    ("ct-strategy", "ct", config(lambda c, q: weights(q).update(strategy="channel"))),
    ("ct-strategy", "ct", config(lambda c, q: weights(q).update(group_size=None))),
    ("ct-ignore", "ct", config(lambda c, q: q["ignore"].remove("model.layers.1.self_attn.o_proj"))),
    ("ct-ignore", "ct", config(lambda c, q: q["ignore"].append(UP))),
    ("ct-ignore", "grouped", config(lambda c, q: q["config_groups"]["group_0"]["targets"].remove(UP))),
    ("ct-head", "ct", config(lambda c, q: q["ignore"].remove("lm_head"))),
    ("ct-shapes", "ct", config(lambda c, q: weights(q).update(num_bits=8))),
    ("ct-shapes", "ct", drop(UP + ".weight_shape")),
    ("ct-shapes", "ct", poke(UP + ".weight_shape", 8, b"\x60")),
    ("ct-shapes", "ct", tensors(lambda t: t[UP + ".weight_packed"].__setitem__(1, [len(t[UP + ".weight_packed"][2]) // 4, 1]))),
    ("ct-zeros", "ct", config(lambda c, q: weights(q).update(symmetric=not weights(q)["symmetric"]))),
    ("ct-zeros", "ct", drop(UP + ".weight_zero_point")),
    ("awq-keys", "awq", config(lambda c, q: q.pop("zero_point"))),
    ("awq-version", "awq", config(lambda c, q: q.update(bits=8))),
    ("awq-version", "awq", config(lambda c, q: q.update(version="gemv"))),
    ("awq-quantized", "awq", config(lambda c, q: q["modules_to_not_convert"].append("q_proj"))),
    ("awq-quantized", "awq", config(lambda c, q: q.update(modules_to_not_convert=None))),
    ("awq-asked", "awq", config(lambda c, q: q["modules_to_not_convert"].remove("model.layers.1.mlp.experts"))),
    ("awq-group", "awq", config(lambda c, q: q.update(group_size=48))),
    ("awq-shapes", "awq", config(lambda c, q: q.update(group_size=64))),
    ("awq-shapes", "awq", rename(Q + ".qzeros", Q + ".g_idx")),
]


def names_of(directory):
    try:
        return {name for name, _ in vllm_rules.check(directory).broken}
    except Exception as e:
        return f"{type(e).__name__}: {e}"


def main():
    where = sys.argv[1]
    for base in sorted({b for _, b, _ in EXAMPLES}):
        said = names_of(os.path.join(where, base))
        print(f"{'not_ok' if said else 'ok'} sound: {base} {said or ''}")
    copy = os.path.join(where, "broken")
    for n, (rule, base, change) in enumerate(EXAMPLES):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(os.path.join(where, base), copy)
        change(copy)
        said = names_of(copy)
        print(f"{'ok' if isinstance(said, set) and rule in said else 'not_ok'} broken: {rule} ({base}, example {n})", "" if isinstance(said, set) and rule in said else f"but it says {said}")
    left = set(vllm_rules.RULES) - {r for r, _, _ in EXAMPLES}
    print(f"{'not_ok' if left else 'ok'} every rule has a broken example {left or ''}")


main()
