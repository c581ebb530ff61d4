// Vector operations of graph attention: loops over the columns of a head, sums across lanes, the exponential, prefetching.
// For attention/rows.cpp only.

#pragma once

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

#include "attention/rows.h"
#include "simd/row_vectors.h"

namespace graphnoise::attention {
namespace {

constexpr int lanes = register_bytes / sizeof(float);

template <int N>
using Vec = graphnoise::Vec<float, N>;

// Two vectors hold sums in parts of `size` lanes: of each part the first half, or the second. Both halves added are one
// vector of parts of half the size, in the same order.
template <int N, int size, bool second, std::size_t... I>
INLINE Vec<N> halves(const Vec<N> &a, const Vec<N> &b, std::index_sequence<I...>) {
    constexpr int half = size / 2;
    constexpr auto lane = [](int i) { return i / half * size + i % half + (second ? half : 0); };
#if defined(__clang__)
    return __builtin_shufflevector(a, b, lane(static_cast<int>(I))...);
#else
    return __builtin_shuffle(a, b, graphnoise::Vec<std::int32_t, N>{lane(static_cast<int>(I))...});
#endif
}

// Sums of the lanes of M vectors, M lanes.
template <int N, int M, int size = N>
INLINE void totals(Vec<N> *v, float *into) {
    if constexpr (size == 1) {
        std::memcpy(into, v, M * sizeof(float));
    } else {
        constexpr int count = M * size <= N ? 1 : M * size / N, left = (count + 1) / 2;
        constexpr auto all = std::make_index_sequence<N>{};
        for (int k = 0; k < left; ++k) {
            const Vec<N> a = v[2 * k], b = count > 1 ? v[2 * k + 1] : a;
            v[k] = halves<N, size, false>(a, b, all) + halves<N, size, true>(a, b, all);
        }
        totals<N, M, size / 2>(v, into);
    }
}

// Calls body with (lanes, column) over the columns of a head.
template <int Width, class Body>
INLINE void columns(Index width, Body &&body) {
    if constexpr (Width > 0) {
        constexpr int N = std::min(lanes, Width);
        static_assert(Width % N == 0);
#pragma GCC unroll 8
        for (int c = 0; c < Width; c += N) body(std::integral_constant<int, N>{}, c);
    } else {
        Index c = 0;
        for (; c + lanes <= width; c += lanes) body(std::integral_constant<int, lanes>{}, c);
        if constexpr (lanes > 4)
            for (; c + 4 <= width; c += 4) body(std::integral_constant<int, 4>{}, c);
        for (; c < width; ++c) body(std::integral_constant<int, 1>{}, c);
    }
}

// exp(x) for x <= 0 without a call or a branch: 2^n by bits, the rest by a polynomial (Cephes' coefficients). Below -87
// the result stays at about 1e-38, which does not change a sum of at least 1.
template <int N>
INLINE Vec<N> exp_nonpositive(Vec<N> x) {
    const Vec<N> least = Vec<N>{} - 87.0f;
    x = x > least ? x : least;
    // Rounded to an integer.
    const Vec<N> n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;
    const Vec<N> r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    Vec<N> y = r * 1.9875691500e-4f + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * r * r + r + 1.0f;
    return y * bits_of<Vec<N>>(converted<std::int32_t, N>(n + 127.0f) << 23);
}

// Only the first cache lines of a row are prefetched; hardware prefetching follows, and more requests were slower.
constexpr Index max_lines = 4;

INLINE void fetch(const float *at, Index floats) {
    const auto *line = reinterpret_cast<const char *>(at);
    for (Index b = 0; b < floats * 4 && b < max_lines * 64; b += 64) __builtin_prefetch(line + b, 0, 3);
}

}  // namespace
}  // namespace graphnoise::attention
