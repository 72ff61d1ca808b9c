"""vllm_rules.py DIR: the rules of vLLM's loaders for the formats that we write, one by one, on a finished output; prints each broken rule by its name and exits 1 when there is
one, 0 when there is none. What vLLM does not take although nothing is wrong with the file (bits, grid, group_size, shapes, act_order's columns) is listed and no fault: only a file that pretends to be
what it is not is wrong. vllm_rules.py --rules: their names and what they say; tests/clients/broken_rules.py has a broken example of each.
Facts: vLLM main of mid-2026, auto_gptq.py, gptq_utils.py, marlin_utils.py, compressed_tensors wNa16, auto_awq.py, quant_utils.py, weight_utils.py, fused_moe. Nothing but Python's own
library is needed. SPDX-License-Identifier: Apache-2.0"""
import array
import glob
import json
import math
import os
import re
import struct
import sys

RULES = {
    # the files: safetensors' own checks and weight_utils.py
    "header": "8 bytes of length, then a JSON object of at most 100 MB that begins with { and lies inside the file",
    "offsets": "tensors lie one behind the other without holes, each as long as its dtype and shape say",
    "aligned": "a tensor begins at a multiple of its element size (the loader makes a view of the bytes)",
    "length": "the file ends where its last tensor does",
    "metadata": "__metadata__ says format = pt",
    "one-place": "a tensor is in one file only",
    "index": "*.safetensors are globbed and those that the index does not mention are dropped: both name the same files; several files need an index",
    "weight-map": "a tensor is in the file that the index names",
    "no-copy": "no second copy of the weights under another name (consolidated*.safetensors)",
    "dtypes": "no tensor but those of packed linears is of another type than F16, BF16, F32: vLLM takes its module for a quantized one",
    # config.json
    "method": "quantization_config has a quant_method that vLLM knows",
    "tied": "tie_word_embeddings is true only if there is no lm_head",
    "scales": "scales are positive and finite",
    "zero-points": "gptq: a symmetric zero point is 2^(bits - 1), less 1 in v1 (Marlin never reads it: others do); v1 holds no zero point 0",
    # linears that run as one
    "fused": "q k v, and gate up, have the same settings, or none is quantized",
    "experts": "all experts of a layer have the same settings, or none is quantized",
    "all-experts": "every expert that the router knows is there, part by part (w1 w2 w3, or gate_proj up_proj down_proj), none in a tensor of several",
    "router": "the router is not quantized",
    # gptq
    "gptq-keys": "quantization_config has bits, group_size, desc_act, sym",
    "gptq-version": "checkpoint_format is gptq or gptq_v2, pack_dtype int32",
    "gptq-quantized": "the first pattern of dynamic that holds, lm_head and modules_in_block_to_quantize say of each linear what the tensors are",
    "gptq-asked": "vLLM asks dynamic for the name of the whole (qkv_proj, gate_up_proj, experts): it gets what its parts have",
    "gptq-group": "group_size divides the columns",
    "gptq-words": "rows and columns are multiples of 32",
    "gptq-shapes": "qweight I32 [K b / 32, N], qzeros I32 [G, N b / 32], scales F16 [G, N], g_idx I32 [K]",
    "gptq-order": "g_idx names groups that exist; column / group_size unless desc_act",
    "gptq-alone": "quantize_config.json is the same object",
    # compressed-tensors
    "ct-format": "format pack-quantized, quantization_status compressed",
    "ct-keys": "no key that pydantic forbids in a group or its weights; type int, not dynamic",
    "ct-order": "actorder is none or static, and there is no weight_g_idx",
    "ct-strategy": "channel without group_size, group with one",
    "ct-ignore": "every linear is either packed and in a group's targets, or in ignore",
    "ct-head": "lm_head is packed or in ignore",
    "ct-shapes": "weight_packed I32 [N, ceil(K b / 32)] packed densely, weight_scale F16 or BF16 [N, G], weight_shape I64 [2] = N, K",
    "ct-zeros": "weight_zero_point I32 [ceil(N b / 32), G] exactly if not symmetric",
    # awq
    "awq-keys": "quantization_config has bits, group_size, zero_point",
    "awq-version": "bits = 4, version gemm",
    "awq-quantized": "a name of modules_to_not_convert that occurs in the linear's, or lm_head, says what the tensors are",
    "awq-asked": "vLLM asks for experts under the name of the whole: it gets what its parts have",
    "awq-group": "group_size divides the columns",
    "awq-shapes": "qweight I32 [K, N / 8], qzeros I32 [G, N / 8], scales F16 [G, N]; no g_idx",
}

FUSED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
EXPERT = re.compile(r"(.*\.experts)\.(\d+)\.(w[123]|(?:gate|up|down)_proj)$")
SIZE = {"F64": 8, "I64": 8, "U64": 8, "I32": 4, "U32": 4, "F32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2, "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1}
PACKED = re.compile(r"\.(qweight|qzeros|scales|g_idx|weight_packed|weight_scale|weight_shape|weight_zero_point|weight_g_idx)$")
MOST_HEADER = 100_000_000


class Output:
    """A directory: config c, quantization_config q, tensors t by name: dtype, shape, path, begin, end."""

    def __init__(self, directory):
        self.directory, self.broken, self.notes, self.t = directory, [], [], {}
        self.c = json.load(open(os.path.join(directory, "config.json")))
        self.q = self.c.get("quantization_config") or {}
        self.read_files()

    def rule(self, name, ok, text):
        assert name in RULES, name
        if not ok:
            self.broken.append((name, text))
        return ok

    # --- files ---------------------------------------------------------------------------------

    def header(self, path):
        size, short = os.path.getsize(path), os.path.basename(path)
        with open(path, "rb") as f:
            n = struct.unpack("<Q", f.read(8))[0] if size >= 8 else 0
            text = f.read(n) if n <= min(size - 8, MOST_HEADER) else b""
        try:
            h = json.loads(text) if text[:1] == b"{" else None
        except ValueError:
            h = None
        if not self.rule("header", isinstance(h, dict), f"{short}: no JSON object of {n} bytes"):
            return {}
        at = 0
        tensors = {k: v for k, v in h.items() if k != "__metadata__"}
        for name, t in sorted(tensors.items(), key=lambda x: x[1]["data_offsets"]):
            begin, end = t["data_offsets"]
            width = SIZE.get(t["dtype"], 1)
            self.rule("offsets", begin == at and end - begin == math.prod(t["shape"]) * width, f"{short}: {name}: a hole, or not as long as its dtype and shape say")
            self.rule("aligned", (8 + n + begin) % width == 0, f"{short}: {name} begins at byte {8 + n + begin}")
            at = end
            t.update(path=path, begin=8 + n + begin)
        self.rule("length", 8 + n + at == size, f"{short}: {size} bytes, its tensors end at {8 + n + at}")
        self.rule("metadata", h.get("__metadata__", {}).get("format") == "pt", f"{short}: format is not pt")
        return tensors

    def read_files(self):
        files = sorted(glob.glob(os.path.join(self.directory, "*.safetensors")))
        names = {os.path.basename(f) for f in files}
        index = os.path.join(self.directory, "model.safetensors.index.json")
        weight_map = json.load(open(index))["weight_map"] if os.path.exists(index) else None
        self.rule("no-copy", not [n for n in names if n.startswith("consolidated")], "consolidated*.safetensors")
        self.rule("index", names == (set(weight_map.values()) if weight_map else {"model.safetensors"}), f"files {sorted(names)}")
        for f in files:
            for name, t in self.header(f).items():
                self.rule("one-place", name not in self.t, f"{name} is in two files")
                self.t[name] = t
                if weight_map:
                    self.rule("weight-map", weight_map.get(name) == os.path.basename(f), f"{name} is in {os.path.basename(f)}")

    def ints(self, name):
        t = self.t[name]
        with open(t["path"], "rb") as f:
            f.seek(t["begin"])
            a = array.array("q" if t["dtype"] == "I64" else "I")
            a.frombytes(f.read(t["data_offsets"][1] - t["data_offsets"][0]))
        return a

    def floats(self, name):
        t = self.t[name]
        with open(t["path"], "rb") as f:
            f.seek(t["begin"])
            data = f.read(t["data_offsets"][1] - t["data_offsets"][0])
        if t["dtype"] == "F16":
            return [x[0] for x in struct.iter_unpack("<e", data)]
        return [struct.unpack("<f", b"\0\0" + data[i : i + 2])[0] for i in range(0, len(data), 2)]  # BF16

    # --- modules ---------------------------------------------------------------------------------

    def modules(self, suffix):
        return {n[: -len(suffix)] for n in self.t if n.endswith(suffix)}

    def plain(self):
        return {m for m in self.modules(".weight") if len(self.t[m + ".weight"]["shape"]) == 2 and "embed" not in m}

    def has(self, name, tensor, dtypes, shape):
        have = self.t.get(tensor, {})
        return self.rule(name, have.get("dtype") in dtypes and have.get("shape") == shape, f"{tensor}: want {'/'.join(dtypes)} {shape}, have {have.get('dtype')} {have.get('shape')}")

    def check_scales(self, tensor):
        if tensor in self.t and self.t[tensor]["dtype"] in ("F16", "BF16"):
            self.rule("scales", all(0 < x < math.inf for x in self.floats(tensor)), f"{tensor}: a scale is not positive and finite")


def width(g, cols):
    return cols if g in (-1, None) else min(g, cols)


def note(o, m, bits, sym, group, rows, cols, taken):
    """What vLLM does not take of a sound linear. taken: (bits, sym)."""
    if (bits, sym) not in taken:
        o.notes.append(f"{m}: {bits} bits, {'symmetric' if sym else 'asymmetric'}")
    elif group not in (-1, None, 32, 64, 128) and group != cols:
        o.notes.append(f"{m}: group_size {group}")
    elif rows % 64 or cols % 32:
        o.notes.append(f"{m}: the shape [{rows}, {cols}]")


def check_sets(o, settings):
    """settings: by linear; None: not quantized."""
    layers = {}
    for m, s in settings.items():
        parent, _, last = m.rpartition(".")
        for parts in FUSED.values():
            if last in parts:
                o.rule("fused", len({settings.get(f"{parent}.{x}") for x in parts}) == 1, f"{parent}: not all of {'/'.join(parts)} have the settings of {last}")
        e = EXPERT.match(m)
        if e:
            layers.setdefault(e[1], {}).setdefault(int(e[2]), {})[e[3]] = s
    for layer, experts in layers.items():
        o.rule("experts", len({s for parts in experts.values() for s in parts.values()}) == 1, f"{layer}: not all have the same settings")
    for n, t in o.t.items():
        e = re.match(r"(.*)\.gate\.(weight|qweight|weight_packed)$", n)
        if e:
            o.rule("router", e[2] == "weight", f"{n}: the router is quantized")
            layer = layers.get(e[1] + ".experts", {})
            parts = [sorted(p) for p in layer.values()]
            whole = [["w1", "w2", "w3"], ["down_proj", "gate_proj", "up_proj"]]
            o.rule("all-experts", sorted(layer) == list(range(t["shape"][0])) and all(p == parts[0] for p in parts) and parts[0] in whole,
                   f"{e[1]}: {len(layer)} of {t['shape'][0]} experts, or parts are missing")
        o.rule("all-experts", not (".experts." in n and len(t["shape"]) == 3), f"{n}: several experts in one tensor")


# --- gptq ------------------------------------------------------------------------------------


def dynamic_of(q, name):
    """get_dynamic_override: re.match, the first pattern holds. None: quantized without an override; False: not quantized."""
    for pattern, own in (q.get("dynamic") or {}).items():
        if re.match(pattern[2:] if pattern[:2] in ("-:", "+:") else pattern, name):
            return False if pattern.startswith("-:") else own
    return None


def gptq_settings(o, name):
    """What the configuration says under this name: None, or bits, group_size, sym, desc_act."""
    own = dynamic_of(o.q, name)
    s = {**o.q, **(own or {})}
    return None if own is False else tuple(s.get(k) for k in ("bits", "group_size", "sym", "desc_act"))


def gptq_linear(o, m, s):
    bits, group, sym, desc_act = s
    k = (o.t.get(m + ".g_idx", {}).get("shape") or [0])[0]
    n = o.t[m + ".qweight"]["shape"][-1]
    g = width(group, k)
    o.rule("gptq-words", k % 32 == 0 and n % 32 == 0, f"{m}: [{n}, {k}]")
    if not o.rule("gptq-group", k > 0 and k % g == 0, f"{m}: group_size {group}, {k} columns"):
        return
    good = [o.has("gptq-shapes", m + ".qweight", ["I32"], [k * bits // 32, n]), o.has("gptq-shapes", m + ".qzeros", ["I32"], [k // g, n * bits // 32]),
            o.has("gptq-shapes", m + ".scales", ["F16"], [k // g, n]), o.has("gptq-shapes", m + ".g_idx", ["I32"], [k])]
    o.check_scales(m + ".scales")
    if not all(good):
        return
    order = list(o.ints(m + ".g_idx"))
    trivial = order == [i // g for i in range(k)]
    o.rule("gptq-order", max(order) < k // g and (trivial or desc_act), f"{m}: g_idx is not column / group_size, or names a group that is not there")
    check_zeros(o, m, bits, sym, o.ints(m + ".qzeros"))
    note(o, m, bits, sym, group, n, k, ((4, True), (8, True)))
    if desc_act and g < k and k % 128:
        o.notes.append(f"{m}: act_order with {k} columns")


def check_zeros(o, m, bits, sym, words):
    v1 = o.q.get("checkpoint_format", "gptq") == "gptq"
    fields, mask = set(), (1 << bits) - 1
    stream, have = 0, 0
    for w in words:
        stream |= w << have
        have += 32
        while have >= bits:
            fields.add(stream & mask)
            stream >>= bits
            have -= bits
    middle = (1 << (bits - 1)) - v1
    ok = fields == {middle} if sym else not (v1 and mask in fields)
    o.rule("zero-points", ok, f"{m}: fields {sorted(fields)[:5]} of {'v1' if v1 else 'v2'}")


def gptq(o):
    q = o.q
    o.rule("gptq-keys", all(k in q for k in ("bits", "group_size", "desc_act", "sym")), "a key is missing")
    o.rule("gptq-version", q.get("pack_dtype", "int32") == "int32" and q.get("checkpoint_format", "gptq") in ("gptq", "gptq_v2"), "checkpoint_format or pack_dtype")
    alone = os.path.join(o.directory, "quantize_config.json")
    o.rule("gptq-alone", not os.path.exists(alone) or json.load(open(alone)) == q, "quantize_config.json says something else than config.json")
    packed, settings = o.modules(".qweight"), {}
    listed = q.get("modules_in_block_to_quantize")
    listed = [x for y in listed for x in (y if isinstance(y, list) else [y])] if listed else None
    for m in sorted(packed | o.plain()):
        s = gptq_settings(o, m)
        if m == "lm_head" and not q.get("lm_head", False) or listed is not None and not any(x in m for x in listed):
            s = None
        o.rule("gptq-quantized", (s is None) == (m not in packed), f"{m}: the configuration and the tensors differ in whether it is quantized")
        settings[m] = s if m in packed else None
        if m in packed and s and None not in s:
            gptq_linear(o, m, s)
        asked(o, m, settings[m], lambda whole: gptq_settings(o, whole), "gptq-asked")
    check_sets(o, settings)


def asked(o, m, s, answer, name):
    """vLLM's name of the whole that m is a part of gets the answer that m gets. A linear that is not quantized is found by its tensors, experts are not."""
    parent, _, last = m.rpartition(".")
    e = EXPERT.match(m)
    whole = e[1] if e else next((f"{parent}.{k}" for k, parts in FUSED.items() if last in parts), None)
    if whole and (e or s):
        o.rule(name, answer(whole) == s, f"{whole} gets {answer(whole)}, {m} has {s}")


# --- compressed-tensors ------------------------------------------------------------------------


def ct_linear(o, m, w):
    bits = w["num_bits"]
    shape = list(o.ints(m + ".weight_shape")) if o.has("ct-shapes", m + ".weight_shape", ["I64"], [2]) else [0, 0]
    n, k = shape
    group = width(w["group_size"], k)
    if not o.rule("ct-shapes", n > 0 and k > 0 and k % group == 0, f"{m}: weight_shape {shape}, group_size {w['group_size']}"):
        return
    o.has("ct-shapes", m + ".weight_packed", ["I32"], [n, (k * bits + 31) // 32])
    o.has("ct-shapes", m + ".weight_scale", ["F16", "BF16"], [n, k // group])
    o.check_scales(m + ".weight_scale")
    if w["symmetric"]:
        o.rule("ct-zeros", m + ".weight_zero_point" not in o.t, f"{m}: symmetric with zero points")
    else:
        o.has("ct-zeros", m + ".weight_zero_point", ["I32"], [(n * bits + 31) // 32, k // group])
    note(o, m, bits, w["symmetric"], w["group_size"], n, k, ((4, True), (4, False), (8, True)))  # others: by humming kernels only


def compressed_tensors(o):
    q = o.q
    o.rule("ct-format", q.get("format") == "pack-quantized" and q.get("quantization_status") == "compressed", "format or quantization_status")
    known = {"num_bits", "type", "symmetric", "strategy", "group_size", "block_structure", "dynamic", "actorder", "observer", "observer_kwargs"}
    groups = q.get("config_groups", {})
    for name, g in groups.items():
        w = g["weights"]
        o.rule("ct-keys", set(g) <= {"targets", "weights", "input_activations", "output_activations"} and set(w) <= known and w.get("type") == "int" and not w.get("dynamic"), name)
        o.rule("ct-order", w.get("actorder") in (None, "static", "weight"), f"{name}: actorder {w.get('actorder')}")
        o.rule("ct-strategy", (w["strategy"], w["group_size"] is None) in (("channel", True), ("group", False)), f"{name}: {w['strategy']}, group_size {w['group_size']}")
    o.rule("ct-order", not o.modules(".weight_g_idx"), "weight_g_idx")
    packed, settings = o.modules(".weight_packed"), {}
    for m in sorted(packed | o.plain()):
        match = [g for g in groups.values() if m in g["targets"]] or [g for g in groups.values() if "Linear" in g["targets"]]
        w = None if m in q.get("ignore", []) or not match else match[0]["weights"]
        o.rule("ct-ignore", (w is None) == (m not in packed), f"{m}: neither packed nor in ignore, or both")
        settings[m] = w and m in packed and (w["num_bits"], w["group_size"], w["symmetric"]) or None
        if m in packed and w:
            ct_linear(o, m, w)
    o.rule("ct-head", "lm_head" in q.get("ignore", []) or "lm_head" in packed, "lm_head is neither packed nor in ignore")
    check_sets(o, settings)


# --- awq --------------------------------------------------------------------------------------


def awq(o):
    q = o.q
    o.rule("awq-keys", all(k in q for k in ("bits", "group_size", "zero_point")), "a key is missing")
    o.rule("awq-version", q.get("bits") == 4 and q.get("version") == "gemm", f"bits {q.get('bits')}, version {q.get('version')}")
    packed, settings = o.modules(".qweight"), {}
    without = q.get("modules_to_not_convert") or []
    for m in sorted(packed | o.plain()):
        plain = m == "lm_head" or any(x in m for x in without)
        o.rule("awq-quantized", plain == (m not in packed), f"{m}: the configuration and the tensors differ in whether it is quantized")
        settings[m] = None if plain else True
        if EXPERT.match(m):
            asked(o, m, settings[m], lambda whole: None if any(x in whole for x in without) else True, "awq-asked")
        if m not in packed:
            continue
        k, words = o.t[m + ".qweight"]["shape"]
        g = width(q.get("group_size", -1), k)
        if o.rule("awq-group", k % g == 0, f"{m}: {k} columns"):
            o.has("awq-shapes", m + ".qweight", ["I32"], [k, words])
            o.has("awq-shapes", m + ".qzeros", ["I32"], [k // g, words])
            o.has("awq-shapes", m + ".scales", ["F16"], [k // g, words * 8])
            note(o, m, 4, not q.get("zero_point"), q.get("group_size", -1), words * 8, k, ((4, True), (4, False)))
        o.rule("awq-shapes", m + ".g_idx" not in o.t, f"{m}: awq has no g_idx")
        o.check_scales(m + ".scales")
    check_sets(o, settings)


METHODS = {"gptq": gptq, "compressed-tensors": compressed_tensors, "awq": awq}


def check(directory):
    o = Output(directory)
    if o.rule("method", o.q.get("quant_method") in METHODS, f"quant_method {o.q.get('quant_method')}"):
        METHODS[o.q["quant_method"]](o)
    o.rule("tied", not (o.c.get("tie_word_embeddings") and any(n.startswith("lm_head.") for n in o.t)), "tied, but there is an lm_head")
    for n, t in o.t.items():
        o.rule("dtypes", t["dtype"] in ("F16", "BF16", "F32") or PACKED.search(n), f"{n} is {t['dtype']}")
    return o


def main():
    if sys.argv[1] == "--rules":
        for name, text in RULES.items():
            print(f"{name:15} {text}")
        return 0
    o = check(sys.argv[1])
    for name, text in o.broken:
        print(f"{o.directory}: {name}: {text} (the rule: {RULES[name]})")
    for text in o.notes[:3]:
        print(f"{o.directory}: vLLM does not take it: {text}{' and others' if len(o.notes) > 3 else ''}")
    return 1 if o.broken else 0


if __name__ == "__main__":
    sys.exit(main())
