// Declarations that all native kernels use.

#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <cstdint>
#include <optional>
#include <type_traits>

namespace nb = nanobind;

using Index = std::int64_t;

template <typename T, int Dims>
using Array = nb::ndarray<T, nb::ndim<Dims>, nb::c_contig, nb::device::cpu>;

using IndexIn = Array<const Index, 1>;
using IndexOut = Array<Index, 1>;
using Floats2In = Array<const float, 2>;
using Floats2Out = Array<float, 2>;
using Floats3In = Array<const float, 3>;
using Floats3Out = Array<float, 3>;

// Make a field of a struct of arguments an attribute: numbers as they are, enumerations as integers, pointers as addresses
// (0: null) of memory that the Python caller has checked and keeps alive.
template <class Struct, class T>
void def_field(nb::class_<Struct> &type, const char *name, T Struct::*field) {
    if constexpr (std::is_pointer_v<T>) {
        type.def_prop_rw(
            name, [field](const Struct &s) { return reinterpret_cast<std::uintptr_t>(s.*field); },
            [field](Struct &s, std::uintptr_t address) { s.*field = reinterpret_cast<T>(address); });
    } else if constexpr (std::is_enum_v<T>) {
        type.def_prop_rw(
            name, [field](const Struct &s) { return static_cast<int>(s.*field); },
            [field](Struct &s, int value) { s.*field = static_cast<T>(value); });
    } else {
        type.def_rw(name, field);
    }
}

void add_attention(nb::module_ &m);
void add_beliefs(nb::module_ &m);
void add_csr(nb::module_ &m);
void add_cut(nb::module_ &m);
void add_normalisation(nb::module_ &m);
void add_propagation(nb::module_ &m);
void add_push(nb::module_ &m);
void add_region(nb::module_ &m);
void add_release(nb::module_ &m);
void add_sweep(nb::module_ &m);
