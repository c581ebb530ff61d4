"""A machine in NumPy for the PTX of programs of one warp, without shared memory, barriers or divergence.

All warps of a grid run side by side, as arrays of shape [warps, 32]. Each load and store is checked: it must be aligned
to its full width and lie inside one buffer, and no warp may touch what another one writes. What the machine does not
know, it refuses. It counts sectors of memory; it knows nothing about time.
"""

from __future__ import annotations

import re
from collections import Counter

import numpy as np

LANES = 32
# Bytes between buffers, so that a stray address hits none.
GUARD = 1 << 24
UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
TYPES = {
    "b8": np.uint8, "u8": np.uint8, "s8": np.int8, "b16": np.uint16, "u16": np.uint16, "s16": np.int16,
    "b32": np.uint32, "u32": np.uint32, "s32": np.int32, "f32": np.float32, "f16": np.float16, "f64": np.float64,
    "b64": np.uint64, "u64": np.uint64, "s64": np.int64,
}  # fmt: skip
SPECIAL = ("%tid.x", "%ctaid.x", "%ctaid.y", "%nctaid.x", "%nctaid.y", "%laneid")
PREDICATES = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}
INTEGERS = {
    "add": np.add, "sub": np.subtract, "mul.lo": np.multiply, "max": np.maximum, "min": np.minimum,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
}  # fmt: skip
FLOATS = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div.full": np.divide, "div.rn": np.divide}
COMPARE = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
}  # fmt: skip


class MachineError(Exception):
    """The program did what it must not do, or what this machine does not know."""


def _bf16_to_f32(bits):
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def _f32_to_bf16(values):
    bits = values.view(np.uint32)
    nearest = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(values), np.uint32(0x7FFF), nearest).astype(np.uint16)


def _f32_to_f16(values):
    return values.astype(np.float16).view(np.uint16)


def _fma(a, b, c):
    # The product is exact.
    return (a.astype(np.float64) * b + c).astype(np.float32)


class Program:
    """One entry of a PTX text, in blocks of instructions.

    Attributes:
        parameters: Types of the parameters, in order, such as "u64" or "f32".
        opcodes: How often each opcode stands in the text.
    """

    def __init__(self, text: str):
        text = re.sub(r"//[^\n]*", "", text)
        head, body = re.search(r"\.entry\s+\w+\((.*?)\n\)[^{]*\n\{(.*?)\n\}", text, re.DOTALL).groups()
        self.parameters = [m[1] for m in re.finditer(r"\.param\s+\.(\w+)[^,]*?(\w+_param_\d+)", head)]
        self.blocks, self.labels, self.opcodes = [[]], {}, Counter()
        for statement in re.split(r"[;\n]", body):
            statement = statement.strip()
            if label := re.fullmatch(r"(\$\w+):", statement):
                self.blocks.append([])
                self.labels[label[1]] = len(self.blocks) - 1
            elif statement and not statement.startswith((".loc", ".reg", ".pragma")):
                self._add(statement)

    def _add(self, statement):
        if not (parts := re.fullmatch(r"(?:@(!?%p\d+)\s+)?([a-z][\w.:]*)\s*(.*)", statement)):
            raise MachineError(f"unknown: {statement}")
        guard, opcode, rest = parts.groups()
        operands = [o.strip() for o in re.findall(r"\{[^}]*\}|\[[^]]*\]|[^,\s][^,]*", rest)]
        self.opcodes[opcode] += 1
        self.blocks[-1].append((guard, opcode, operands))
        if opcode in ("bra", "bra.uni", "ret"):
            self.blocks.append([])


class Memory:
    """Buffers at addresses of their own, far apart; each keeps its place within 256 bytes.

    Attributes:
        touched: For each buffer, the 32-byte sectors that were asked for, with the warps that asked.
    """

    def __init__(self):
        self.base, self.bytes, self.name, self.touched = [], [], [], {}
        self.writer, self.read = {}, {}

    def add(self, name, data, place=0):
        """Return the address of a buffer (a contiguous array, shared, not copied) at `place` modulo 256."""
        for k, known in enumerate(self.bytes):
            if known.ctypes.data == data.ctypes.data and known.nbytes == data.nbytes:
                return self.base[k]
        end = self.base[-1] + self.bytes[-1].nbytes if self.base else 0
        self.base.append(-(-(end + GUARD) // 256) * 256 + place % 256)
        self.bytes.append(data.reshape(-1).view(np.uint8))
        self.name.append(name)
        return self.base[-1]

    def end(self):
        """Raise if a warp of the launch that ends has read what another one has written, whichever came first."""
        for k, owner in self.writer.items():
            for places, warp in self.read.get(k, []):
                if ((owner[places] != -1) & (owner[places] != warp)).any():
                    raise MachineError(f"a warp reads from {self.name[k]!r} what another one writes")
        self.writer, self.read = {}, {}

    def find(self, address, width, kind, warp):
        """Return the buffer that all these addresses lie in, and the places there."""
        if (address % np.uint64(width)).any():
            raise MachineError(f"{kind} of {width} bytes at an address that is not a multiple of it")
        k = int(np.searchsorted(np.array(self.base, np.uint64), address[0], "right")) - 1
        low, high = int(address.min()), int(address.max()) + width
        if k < 0 or low < self.base[k] or high > self.base[k] + self.bytes[k].nbytes:
            where = (
                "before all buffers" if k < 0 else f"{low - self.base[k]} to {high - self.base[k]} in {self.name[k]!r}"
            )
            raise MachineError(f"{kind} out of bounds: bytes {where}")
        places = (address - np.uint64(self.base[k])).astype(np.int64)
        if kind == "store":
            owner = self.writer.setdefault(k, np.full(self.bytes[k].nbytes, -1))
            strangers = (owner[places] != -1) & (owner[places] != warp)
            for byte in range(width):
                owner[places + byte] = warp
            if strangers.any() or (owner[places] != warp).any():
                raise MachineError(f"two warps write to one place in {self.name[k]!r}")
        else:
            self.read.setdefault(k, []).append((places, warp))
        pair = (address >> np.uint64(5)).astype(np.int64) | (warp.astype(np.int64) << 40)
        self.touched.setdefault((self.name[k], kind), []).append(np.unique(pair))
        return k, places

    def sectors(self):
        """Return how many sectors of each buffer were loaded and stored, each counted once for each warp."""
        return Counter({place: len(np.unique(np.concatenate(pairs))) for place, pairs in self.touched.items()})


class Machine:
    """The registers of all warps of a launch."""

    def __init__(self, program: Program, memory: Memory, grid: tuple[int, int], arguments: list):
        self.program, self.memory, self.arguments = program, memory, arguments
        warps = grid[0] * grid[1]
        shape = (warps, LANES)
        number = np.arange(warps, dtype=np.uint32)[:, None]
        lane = np.arange(LANES, dtype=np.uint32)[None, :]
        special = (lane, number % grid[0], number // grid[0], np.uint32(grid[0]), np.uint32(grid[1]), lane)
        self.registers = {k: np.broadcast_to(v, shape).copy() for k, v in zip(SPECIAL, special, strict=True)}
        self.warps = warps

    def run(self):
        """Run every warp to its end, those that are furthest back first."""
        blocks = self.program.blocks
        at = np.zeros(self.warps, np.int64)
        with np.errstate(all="ignore"):
            while (block := int(at.min())) < len(blocks):
                self.active = np.flatnonzero(at == block)
                self.whole = len(self.active) == self.warps
                at[self.active] = self._block(blocks[block], block + 1)
        self.memory.end()

    def _block(self, block, following):
        """Execute one block; return where each of its warps goes on."""
        for guard, opcode, operands in block:
            taken = None if guard is None else self._get(guard.lstrip("!"), "pred") ^ guard.startswith("!")
            if opcode in ("bra", "bra.uni"):
                target = self.program.labels[operands[0]]
                if taken is None:
                    return target
                if (taken.any(1) != taken.all(1)).any():
                    raise MachineError("lanes of one warp part at a branch")
                return np.where(taken[:, 0], target, following)
            if opcode == "ret":
                return len(self.program.blocks)
            try:
                self._instruction(opcode, operands, taken)
            except (KeyError, ValueError, IndexError, TypeError) as error:
                raise MachineError(f"unknown: {opcode} {', '.join(operands)}: {error!r}") from error
        return following

    def _get(self, name, kind):
        """Return an operand as an array of a type, shape [active warps, 32]."""
        shape = (len(self.active), LANES)
        if name.startswith("%"):
            if name not in self.registers:
                raise MachineError(f"{name} is read before it is written")
            value = self.registers[name] if self.whole else self.registers[name][self.active]
            return value if kind == "pred" else value.view(TYPES[kind])
        if kind == "pred":
            return np.full(shape, int(name) != 0)
        if name.startswith("0f"):
            return np.full(shape, int(name[2:], 16), np.uint32).view(TYPES[kind])
        size = np.dtype(TYPES[kind]).itemsize
        number = int(name, 0) & ((1 << 8 * size) - 1)
        return np.full(shape, number, UNSIGNED[size]).view(TYPES[kind])

    def _set(self, name, value):
        value = value if value.dtype == np.bool_ else value.view(UNSIGNED[value.dtype.itemsize])
        if self.whole:
            self.registers[name] = value
            return
        if name not in self.registers:
            self.registers[name] = np.zeros((self.warps, LANES), value.dtype)
        self.registers[name][self.active] = value

    def _instruction(self, opcode, operands, taken):
        name, *kinds = opcode.split(".")
        if name in ("ld", "st"):
            return self._memory(name, kinds, operands, taken)
        if taken is not None:
            raise MachineError(f"{opcode} under a predicate")
        special = getattr(self, f"_{name}", None)
        if special is not None:
            return special(kinds, *operands)
        kind = kinds[-1]
        if kind == "pred":
            return self._set(operands[0], PREDICATES[name](*(self._get(o, "pred") for o in operands[1:])))
        if kind == "f32x2":
            halves = [self._get(o, "b64").view(np.float32).reshape(-1, LANES, 2) for o in operands[1:]]
            result = _fma(*halves) if name == "fma" else FLOATS[name](*halves)
            return self._set(operands[0], np.ascontiguousarray(result).view(np.uint64).reshape(-1, LANES))
        # The first operand is widened.
        if kinds[-2:-1] == ["f32"] and kind in ("f16", "bf16"):
            half = self._get(operands[1], "b16")
            wide = _bf16_to_f32(half) if kind == "bf16" else half.view(np.float16).astype(np.float32)
            return self._set(operands[0], FLOATS[name](wide, self._get(operands[2], "f32")))
        values = [self._get(o, kind) for o in operands[1:]]
        if name == "fma":
            return self._set(operands[0], _fma(*values))
        full = ".".join([name, *(k for k in kinds[:-1] if not (k == "rn" and name != "div"))])
        return self._set(operands[0], (FLOATS if kind == "f32" else INTEGERS)[full](*values))

    def _memory(self, name, kinds, operands, taken):
        if name == "ld" and kinds[0] == "param":
            index = int(operands[1].strip("[]").rsplit("_", 1)[1])
            value = np.array(
                self.arguments[index], np.float32 if self.program.parameters[index] == "f32" else np.uint64
            )
            return self._set(
                operands[0], np.broadcast_to(value, (len(self.active), LANES)).copy().view(TYPES[kinds[1]])
            )
        if kinds[0] != "global":
            raise MachineError(f"{name}.{'.'.join(kinds)} is not to global memory")
        count = int(kinds[1][1:]) if kinds[1].startswith("v") else 1
        size = np.dtype(TYPES[kinds[-1]]).itemsize
        pointer, data = operands[::-1] if name == "ld" else operands
        registers = [r.strip() for r in data.strip("{}").split(",")]
        if len(registers) != count:
            raise MachineError(f"{len(registers)} registers for {count} values")
        base, _, offset = (part.strip() for part in pointer.strip("[]").partition("+"))
        address = self._get(base, "u64") + np.uint64(int(offset or 0))
        lanes = np.ones(address.shape, bool) if taken is None else taken
        if not lanes.any():
            return None
        warp = np.broadcast_to(self.active[:, None], lanes.shape)[lanes]
        k, places = self.memory.find(address[lanes], size * count, "load" if name == "ld" else "store", warp)
        spread = places[:, None] + np.arange(size * count)
        if name == "st":
            values = np.stack([self._get(register, kinds[-1])[lanes] for register in registers], 1)
            self.memory.bytes[k][spread] = values.view(np.uint8)
            return None
        values = self.memory.bytes[k][spread].view(UNSIGNED[size])
        for i, register in enumerate(registers):
            # Wider than a byte that is loaded into it.
            held = {"%rs": "u16", "%rd": "u64"}.get(register[:3], "u32")
            kept = np.empty(lanes.shape, TYPES[held]) if lanes.all() else self._get(register, held).copy()
            kept[lanes] = values[:, i]
            self._set(register, kept)
        return None

    def _mov(self, kinds, out, value):
        if kinds == ["pred"]:
            return self._set(out, self._get(value, "pred").copy())
        if out.startswith("{"):
            parts = [r.strip() for r in out.strip("{}").split(",")]
            split = self._get(value, kinds[0]).copy().view(UNSIGNED[np.dtype(TYPES[kinds[0]]).itemsize // len(parts)])
            for i, part in enumerate(parts):
                if part != "_":
                    self._set(part, np.ascontiguousarray(split.reshape(-1, LANES, len(parts))[:, :, i]))
            return None
        if value.startswith("{"):
            parts = [p.strip() for p in value.strip("{}").split(",")]
            half = "b" + str(int(kinds[0][1:]) // len(parts))
            joined = np.stack([self._get(p, half) for p in parts], -1)
            return self._set(out, joined.view(TYPES[kinds[0]]).reshape(-1, LANES))
        return self._set(out, self._get(value, kinds[0]).copy())

    def _cvt(self, kinds, out, value, low=None):
        # Two values per instruction.
        if low is not None:
            narrow = _f32_to_bf16 if kinds[1] == "bf16x2" else _f32_to_f16
            upper, lower = (narrow(self._get(v, "f32")).astype(np.uint32) for v in (value, low))
            return self._set(out, upper << np.uint32(16) | lower)
        target, source = (k for k in kinds if k in TYPES or k == "bf16")
        if "rn" in kinds and target not in ("f16", "bf16", "f32"):
            raise MachineError(f"cvt.{'.'.join(kinds)}")
        given = _bf16_to_f32(self._get(value, "b16")) if source == "bf16" else self._get(value, source)
        return self._set(out, _f32_to_bf16(given) if target == "bf16" else given.astype(TYPES[target]))

    def _mad(self, kinds, out, a, b, c):
        if kinds[0] == "wide":
            wide = kinds[1][0] + str(2 * int(kinds[1][1:]))
            product = self._get(a, kinds[1]).astype(TYPES[wide]) * self._get(b, kinds[1]).astype(TYPES[wide])
            return self._set(out, product + self._get(c, wide))
        if kinds[0] != "lo":
            raise MachineError(f"mad.{'.'.join(kinds)}")
        return self._set(out, self._get(a, kinds[1]) * self._get(b, kinds[1]) + self._get(c, kinds[1]))

    def _mul(self, kinds, out, a, b):
        if kinds[0] == "wide":
            wide = kinds[1][0] + str(2 * int(kinds[1][1:]))
            return self._mad(kinds, out, a, b, "0") if wide in TYPES else None
        if kinds[-1] == "f32x2":
            a, b = (self._get(o, "b64").view(np.float32) for o in (a, b))
            return self._set(out, (a * b).view(np.uint64))
        if kinds[0] not in ("lo", "f32", "rn"):
            raise MachineError(f"mul.{'.'.join(kinds)}")
        return self._set(out, self._get(a, kinds[-1]) * self._get(b, kinds[-1]))

    def _shl(self, kinds, out, value, by):
        amount = self._get(by, "u32")
        if (amount >= np.dtype(TYPES[kinds[0]]).itemsize * 8).any():
            raise MachineError("shift by a whole register")
        self._set(out, np.left_shift(self._get(value, kinds[0]), amount.astype(TYPES[kinds[0]])))

    def _bfe(self, kinds, out, value, start, length):
        mask = np.uint32((1 << int(length)) - 1)
        if kinds != ["u32"]:
            raise MachineError(f"bfe.{'.'.join(kinds)}")
        self._set(out, (self._get(value, "u32") >> np.uint32(int(start))) & mask)

    def _abs(self, kinds, out, value):
        self._set(out, np.abs(self._get(value, kinds[-1])))

    def _neg(self, kinds, out, value):
        self._set(out, -self._get(value, kinds[-1]))

    def _setp(self, kinds, out, a, b):
        self._set(out, COMPARE[kinds[0]](self._get(a, kinds[1]), self._get(b, kinds[1])))

    def _selp(self, kinds, out, a, b, which):
        self._set(out, np.where(self._get(which, "pred"), self._get(a, kinds[0]), self._get(b, kinds[0])))

    def _shfl(self, kinds, out, value, by, clamp, members):
        if kinds[0] != "sync" or int(clamp, 0) != LANES - 1 or (self._get(members, "u32") != 0xFFFFFFFF).any():
            raise MachineError("a shuffle of a part of the warp")
        lane, by = np.arange(LANES, dtype=np.uint32)[None, :], self._get(by, "u32")
        partner = {"bfly": lane ^ by, "idx": by & np.uint32(31)}[kinds[1]]
        self._set(out, np.take_along_axis(self._get(value, kinds[2]), partner.astype(np.int64), 1))

    def _redux(self, kinds, out, value, members):
        if (self._get(members, "u32") != 0xFFFFFFFF).any():
            raise MachineError("a reduction of a part of the warp")
        best = {"max": np.max, "min": np.min}[kinds[1]](self._get(value, kinds[2]), axis=1, keepdims=True)
        self._set(out, np.repeat(best, LANES, 1))
