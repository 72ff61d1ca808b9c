"""vllm_rules.py DIR: the rules of vLLM's loaders for the formats that we write, one by one, on a finished output; prints each broken rule and exits 1 when
there is one, 0 when there is none. A rule that says "vLLM does not take this" (bits, grid) is not broken but listed: only a file that pretends to be what it is not
is wrong. Facts: vLLM main of mid-2026, auto_gptq.py, gptq_marlin.py, gptq_utils.py, marlin_utils.py, compressed_tensors wNa16, auto_awq.py, weight_utils.py.
SPDX-License-Identifier: Apache-2.0"""
import glob
import json
import os
import re
import struct
import sys

FUSED = [("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj")]
SIZE = {"I64": 8, "I32": 4, "F32": 4, "F16": 2, "BF16": 2}
broken = []


def rule(ok, text):
    if not ok:
        broken.append(text)
    return ok


def header(path):
    size = os.path.getsize(path)
    with open(path, "rb") as f:
        n = struct.unpack("<Q", f.read(8))[0]
        h = json.loads(f.read(n))
    at = 0
    for name, t in sorted(((k, v) for k, v in h.items() if k != "__metadata__"), key=lambda x: x[1]["data_offsets"]):
        begin, end = t["data_offsets"]
        count = 1
        for d in t["shape"]:
            count *= d
        rule(begin == at and end - begin == count * SIZE.get(t["dtype"], 0), f"{path}: {name}: offsets leave a hole or do not fit dtype and shape")
        rule((8 + n + begin) % SIZE.get(t["dtype"], 1) == 0, f"{path}: {name} does not begin at a multiple of its element size")
        at = end
    rule(8 + n + at == size, f"{path}: the file is longer or shorter than its header says")
    rule(h.get("__metadata__", {}).get("format") == "pt", f"{path}: metadata lacks format = pt")
    return {k: v for k, v in h.items() if k != "__metadata__"}


def tensors(directory):
    """All *.safetensors are globbed, then those that the index does not mention are dropped."""
    found = {}
    files = sorted(glob.glob(os.path.join(directory, "*.safetensors")))
    index = os.path.join(directory, "model.safetensors.index.json")
    if os.path.exists(index):
        weight_map = json.load(open(index))["weight_map"]
        rule({os.path.basename(f) for f in files} == set(weight_map.values()), "shards and index do not name the same files")
    rule(files, "no *.safetensors")
    for f in files:
        for name, t in header(f).items():
            rule(name not in found, f"{name} is in two files")
            found[name] = t
            if os.path.exists(index):
                rule(weight_map.get(name) == os.path.basename(f), f"{name} is not in the file that the index names")
    return found


def modules(t, suffix):
    return {n[: -len(suffix)] for n in t if n.endswith(suffix)}


def plain_linears(t):
    return {m for m in modules(t, ".weight") if len(t[m + ".weight"]["shape"]) == 2 and "embed" not in m}


def has(t, name, dtypes, shape):
    return rule(name in t and t[name]["dtype"] in dtypes and t[name]["shape"] == shape,
                f"{name}: want {'/'.join(dtypes)} {shape}, have {t.get(name, {}).get('dtype')} {t.get(name, {}).get('shape')}")


def fused(settings):
    """All shards of a fused layer: the same settings, or none quantized."""
    for m in settings:
        for s in FUSED:
            parent, last = m.rsplit(".", 1) if "." in m else ("", m)
            if last in s:
                rule(len({settings.get(f"{parent}.{x}") for x in s}) == 1, f"{parent}: some but not all shards of {'/'.join(s)} have the settings of {last}")


def width(g, cols):
    return cols if g == -1 else min(g, cols)


def gptq(config, q, t):
    for key in ("bits", "group_size", "desc_act", "sym"):  # AutoGPTQConfig.from_config
        rule(key in q, f"quantization_config lacks {key}")
    rule(q.get("pack_dtype", "int32") == "int32", "pack_dtype is not int32")
    rule(q.get("checkpoint_format", "gptq") in ("gptq", "gptq_v2"), "checkpoint_format")
    packed, settings = modules(t, ".qweight"), {}
    for m in packed | plain_linears(t):
        s = dict(q)
        without = m == "lm_head" and not q.get("lm_head", False)
        for pattern, own in q.get("dynamic", {}).items():  # get_dynamic_override: re.match, the first one holds
            if re.match(pattern[2:] if pattern[:2] in ("-:", "+:") else pattern, m):
                without = without or pattern.startswith("-:")
                s.update(own)
                break
        rule(without == (m not in packed), f"{m}: the configuration and the tensors differ in whether it is quantized")
        settings[m] = None if without else (s["bits"], s["group_size"], s["sym"], s["desc_act"])
        if m in packed and not without:
            b, g, k = s["bits"], s["group_size"], t[m + ".g_idx"]["shape"][0] if m + ".g_idx" in t else 0
            n = t[m + ".qweight"]["shape"][1]
            rule(k > 0 and k % width(g, k) == 0, f"{m}: group_size does not divide the columns")
            groups = k // max(width(g, k), 1)
            has(t, m + ".qweight", ["I32"], [k * b // 32, n])
            has(t, m + ".qzeros", ["I32"], [groups, n * b // 32])
            has(t, m + ".scales", ["F16"], [groups, n])
            has(t, m + ".g_idx", ["I32"], [k])
            rule(k * b % 32 == 0 and n * b % 32 == 0, f"{m}: rows or columns do not fill whole words")
    fused(settings)


def compressed_tensors(config, q, t):
    rule(q.get("format") == "pack-quantized" and q.get("quantization_status") == "compressed", "format or quantization_status")
    known = {"num_bits", "type", "symmetric", "strategy", "group_size", "block_structure", "dynamic", "actorder", "observer", "observer_kwargs"}
    packed, settings = modules(t, ".weight_packed"), {}
    groups = q.get("config_groups", {})
    for name, g in groups.items():
        rule(set(g) <= {"targets", "weights", "input_activations", "output_activations"}, f"{name}: a key that pydantic forbids")
        rule(set(g["weights"]) <= known, f"{name}: weights: a key that pydantic forbids")
        rule(g["weights"].get("actorder") in (None, "static", "weight"), f"{name}: actorder")
        rule((g["weights"]["strategy"] == "channel") == (g["weights"]["group_size"] is None), f"{name}: strategy and group_size do not agree")
    for m in packed | plain_linears(t):
        ignored = m in q.get("ignore", [])
        match = [g for g in groups.values() if m in g["targets"]] or [g for g in groups.values() if "Linear" in g["targets"]]
        w = None if ignored or not match else match[0]["weights"]
        rule((w is None) == (m not in packed), f"{m}: a Linear that is neither packed nor in ignore, or both")
        settings[m] = w and (w["num_bits"], w["group_size"], w["symmetric"])
        if m in packed and w:
            b = w["num_bits"]
            n, words = t[m + ".weight_packed"]["shape"]
            g = t[m + ".weight_scale"]["shape"][1] if m + ".weight_scale" in t else 0
            rule(g == 1 or w["strategy"] == "group", f"{m}: several groups, but strategy channel")
            k = g * w["group_size"] if w["strategy"] == "group" and g > 1 else None
            has(t, m + ".weight_packed", ["I32"], [n, words if k is None else (k * b + 31) // 32])
            has(t, m + ".weight_scale", ["F16", "BF16"], [n, g])
            has(t, m + ".weight_shape", ["I64"], [2])
            if w["symmetric"]:
                rule(m + ".weight_zero_point" not in t, f"{m}: symmetric with zero points")
            else:
                has(t, m + ".weight_zero_point", ["I32"], [(n * b + 31) // 32, g])
    rule("lm_head" in q.get("ignore", []) or "lm_head" in packed, "lm_head is neither packed nor in ignore")
    fused(settings)


def awq(config, q, t):
    for key in ("bits", "group_size", "zero_point"):  # AWQConfig.from_config
        rule(key in q, f"quantization_config lacks {key}")
    rule(q.get("bits") == 4 and q.get("version") == "gemm", "bits is not 4 or version not gemm")
    packed, settings = modules(t, ".qweight"), {}
    for m in packed | plain_linears(t):
        without = m == "lm_head" or any(x in m for x in q.get("modules_to_not_convert") or [])
        rule(without == (m not in packed), f"{m}: the configuration and the tensors differ in whether it is quantized")
        settings[m] = m in packed
        if m in packed:
            k, words = t[m + ".qweight"]["shape"]
            rule(k % width(q["group_size"], k) == 0, f"{m}: group_size does not divide the columns")
            groups = k // width(q["group_size"], k)
            has(t, m + ".qweight", ["I32"], [k, words])
            has(t, m + ".qzeros", ["I32"], [groups, words])
            has(t, m + ".scales", ["F16"], [groups, words * 8])
            rule(m + ".g_idx" not in t, f"{m}: awq has no g_idx")
    fused(settings)


def main():
    directory = sys.argv[1]
    config = json.load(open(os.path.join(directory, "config.json")))
    q = config.get("quantization_config")
    t = tensors(directory)
    method = {"gptq": gptq, "compressed-tensors": compressed_tensors, "awq": awq}
    if rule(q and q.get("quant_method") in method, "no quantization_config with a quant_method that vLLM knows"):
        method[q["quant_method"]](config, q, t)
    if config.get("tie_word_embeddings"):
        rule(not any(n.startswith("lm_head.") for n in t), "tied, but there is an lm_head")
    ints = [n for n in t if t[n]["dtype"] not in ("F16", "BF16", "F32") and not re.search(r"\.(qweight|qzeros|g_idx|weight_packed|weight_shape|weight_zero_point)$", n)]
    rule(not ints, f"tensors of another dtype, which vLLM takes for quantized layers: {ints[:3]}")
    for text in broken:
        print(f"{directory}: {text}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
