// Row normalisation with the activations before and after it, in one pass over the rows; __init__.py defines the operation.
// Arrays are passed as addresses that it has checked.

#include <algorithm>
#include <cmath>

#include "simd/memory.h"
#include "native.h"
#include "simd/parallel.h"

namespace {

using namespace graphnoise;
using Address = std::uintptr_t;

enum Before { none, leaky_relu, relu };
constexpr float slope = 0.01f, least = 1e-12f;
// Entries per task.
constexpr Index chunk = 1 << 15;
// Entries below which one thread is faster.
constexpr Index serial_below = 1 << 17;

// NaN stays NaN, here and below.
template <int B>
inline float active(float x) {
    return B == none ? x : x <= 0 ? (B == relu ? 0.0f : slope * x) : x;
}

struct Rows {
    Index rows, width;
    // [rows, width]
    const float *x, *grad;
    // [rows] and [rows, width]
    float *norm, *out;
};

template <int P, int B, bool After>
void forward(const Rows &r, Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
        const float *__restrict x = r.x + i * r.width;
        float *__restrict out = r.out + i * r.width;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (Index f = 0; f < r.width; ++f) {
            const float u = active<B>(x[f]);
            sum += P == 1 ? std::fabs(u) : u * u;
        }
        const float norm = P == 1 ? sum : std::sqrt(sum), by = 1 / (norm < least ? least : norm);
        r.norm[i] = norm;
#pragma omp simd
        for (Index f = 0; f < r.width; ++f) out[f] = active<After ? relu : none>(active<B>(x[f]) * by);
    }
}

// With y = u / N and g the gradient of y, that of u is (g - (sum of g y) dN/du) / N, where dN/du is the sign of u or y.
// Norms below `least` have no gradient.
template <int P, int B, bool After>
void backward(const Rows &r, Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
        const float *__restrict x = r.x + i * r.width, *__restrict grad = r.grad + i * r.width;
        float *__restrict out = r.out + i * r.width;
        const float norm = r.norm[i], by = 1 / (norm < least ? least : norm);
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (Index f = 0; f < r.width; ++f) {
            const float u = active<B>(x[f]), upstream = grad[f], g = After && u <= 0 ? 0.0f : upstream;
            sum += g * u;
        }
        const float mean = norm < least ? 0.0f : sum * by * (P == 1 ? 1.0f : by);
#pragma omp simd
        for (Index f = 0; f < r.width; ++f) {
            const float u = active<B>(x[f]), upstream = grad[f], g = After && u <= 0 ? 0.0f : upstream;
            const float sign = u > 0 ? 1.0f : u < 0 ? -1.0f : 0.0f;
            const float v = (g - mean * (P == 1 ? sign : u)) * by;
            out[f] = B == none || x[f] > 0 ? v : B == relu ? 0.0f : slope * v;
        }
    }
}

using Run = void (*)(const Rows &, Index, Index);

template <template <int, int, bool> class Of>
Run choose(int p, int before, bool after) {
    if (p == 1) {
        if (before == none) return after ? Of<1, none, true>::run : Of<1, none, false>::run;
        if (before == relu) return after ? Of<1, relu, true>::run : Of<1, relu, false>::run;
        return after ? Of<1, leaky_relu, true>::run : Of<1, leaky_relu, false>::run;
    }
    if (before == none) return after ? Of<2, none, true>::run : Of<2, none, false>::run;
    if (before == relu) return after ? Of<2, relu, true>::run : Of<2, relu, false>::run;
    return after ? Of<2, leaky_relu, true>::run : Of<2, leaky_relu, false>::run;
}

template <int P, int B, bool After>
struct Forward {
    static constexpr Run run = forward<P, B, After>;
};
template <int P, int B, bool After>
struct Backward {
    static constexpr Run run = backward<P, B, After>;
};

void normalise(bool back, int p, int before, bool after, int threads, Index rows, Index width, Address x, Address grad,
               Address norm, Address out) {
    nb::gil_scoped_release release;
    const Rows r{rows, width, reinterpret_cast<const float *>(x), reinterpret_cast<const float *>(grad),
                 reinterpret_cast<float *>(norm), reinterpret_cast<float *>(out)};
    const Run run = back ? choose<Backward>(p, before, after) : choose<Forward>(p, before, after);
    in_large_pages(r.out, rows * width * 4);
    const Index step = std::max<Index>(1, chunk / std::max<Index>(1, width));
    if (rows * width < serial_below) threads = 1;
    const Index tasks = (rows + step - 1) / step;
    parallel(threads, tasks, [&](int, Index t) { run(r, t * step, std::min(rows, (t + 1) * step)); });
}

}  // namespace

void add_normalisation(nb::module_ &m) { m.def("normalise", &normalise); }
