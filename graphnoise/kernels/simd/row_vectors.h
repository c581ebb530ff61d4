// SIMD vectors, loads and stores of the row kernels. For rows.cpp files only, which are compiled once for each instruction
// set (GRAPHNOISE_ISA); the anonymous namespace keeps inline functions of different sets apart.

#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#ifndef GRAPHNOISE_ISA
#define GRAPHNOISE_ISA baseline
#endif
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)

#define INLINE inline __attribute__((always_inline))

namespace graphnoise {
namespace {

struct BFloat16 {
    std::uint16_t bits;
};

#if defined(__AVX512F__)
constexpr int register_bytes = 64;
#elif defined(__AVX__)
constexpr int register_bytes = 32;
#else
constexpr int register_bytes = 16;
#endif

// N lanes; one lane is a plain number, which compilers handle better than a vector of one.
template <class A, int N>
struct Vector {
    typedef A type __attribute__((vector_size(N * sizeof(A))));
};
template <class A>
struct Vector<A, 1> {
    using type = A;
};
template <class A, int N>
using Vec = typename Vector<A, N>::type;

template <class V>
INLINE auto lane(const V &v, int l) {
    if constexpr (std::is_arithmetic_v<V>) {
        return v;
    } else {
        return v[l];
    }
}

// The type of sums, and an integer type of the same size.
template <class T>
struct Traits {
    using Sum = float;
    using Bits = std::int32_t;
};
template <>
struct Traits<double> {
    using Sum = double;
    using Bits = std::int64_t;
};

template <class To, class From>
INLINE To bits_of(const From &from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}

template <class To, int N, class From>
INLINE Vec<To, N> converted(const From &from) {
    if constexpr (N == 1) {
        return static_cast<To>(from);
    } else {
        return __builtin_convertvector(from, Vec<To, N>);
    }
}

template <int N>
INLINE Vec<float, N> widened(const Vec<std::uint16_t, N> &half) {
    return bits_of<Vec<float, N>>(converted<std::uint32_t, N>(half) << 16);
}

// bfloat16 is rounded to the nearest, ties to even; what is not a number stays so.
template <int N>
INLINE Vec<std::uint16_t, N> narrowed(const Vec<float, N> &v) {
    const auto bits = bits_of<Vec<std::uint32_t, N>>(v);
    const auto rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return converted<std::uint16_t, N>(v == v ? rounded : rounded * 0u + 0x7fc0u);
}

template <int N, class T>
INLINE Vec<typename Traits<T>::Sum, N> load(const T *at) {
    if constexpr (std::is_same_v<T, BFloat16>) {
        Vec<std::uint16_t, N> half;
        std::memcpy(&half, at, sizeof half);
        return widened<N>(half);
    } else {
        Vec<T, N> v;
        std::memcpy(&v, at, sizeof v);
        return v;
    }
}

template <int N, class T>
INLINE void store(T *at, const Vec<typename Traits<T>::Sum, N> &v) {
    if constexpr (std::is_same_v<T, BFloat16>) {
        const auto half = narrowed<N>(v);
        std::memcpy(at, &half, sizeof half);
    } else {
        std::memcpy(at, &v, sizeof v);
    }
}

// The value as it will be read again after it was stored.
template <int N, class T, class V>
INLINE V stored(const V &v) {
    if constexpr (std::is_same_v<T, BFloat16>) {
        return widened<N>(narrowed<N>(v));
    } else {
        return v;
    }
}

}  // namespace
}  // namespace graphnoise
