// What the native kernels share.

#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <cstdint>
#include <optional>

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

void add_attention(nb::module_ &m);
void add_csr(nb::module_ &m);
void add_cut(nb::module_ &m);
void add_normalisation(nb::module_ &m);
void add_propagation(nb::module_ &m);
void add_push(nb::module_ &m);
void add_release(nb::module_ &m);
void add_sweep(nb::module_ &m);
