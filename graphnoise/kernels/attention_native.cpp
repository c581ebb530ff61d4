// Graph attention in one pass over the arcs of each target. See attention_reference.py for the meaning.

#include "native.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

namespace {

struct Arcs {
    const Index *rowptr, *col;
    Index targets, heads, width;
};

// exp(x) for x <= 0 without a call or a branch, so that loops over it vectorise: 2^n by bits, the rest by a polynomial
// (Cephes' coefficients). Below -87 the result stays at about 1e-38, which a sum of at least 1 does not feel.
inline float exp_nonpositive(float x) {
    x = std::max(x, -87.0f);
    const float n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;  // rounds to an integer
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    const auto bits = static_cast<std::int32_t>(n + 127.0f) << 23;
    float scale;
    std::memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}

// One value a head, on the stack where the number of heads is known at compile time.
template <int Fixed>
struct Row {
    float data[Fixed];
    explicit Row(Index) {}
};

template <>
struct Row<0> {
    std::vector<float> data;
    explicit Row(Index size) : data(size) {}
};

struct Inputs {
    const float *h, *source, *target, *kept;  // kept may be null: ones
    float slope;
};

// Compile-time sizes (0: read them) let the compiler unroll the loops over heads and over a head's features. Loops that
// hold one kind of work each, over pointers that do not alias, are what it vectorises.
template <int Heads, int Width>
void forward_rows(const Arcs &a, const Inputs &in, float *__restrict out, float *__restrict weight) {
    const Index H = Heads ? Heads : a.heads, F = Width ? Width : a.width;
    const float half_up = 0.5f * (1 + in.slope), half_down = 0.5f * (1 - in.slope);
    Row<Heads> top(H), sum(H);
    Row<Heads * Width> total(H * F);
    for (Index i = 0; i < a.targets; ++i) {
        const Index begin = a.rowptr[i], end = a.rowptr[i + 1];
        const float *__restrict t = in.target + i * H;
        for (Index k = 0; k < H; ++k) top.data[k] = -INFINITY, sum.data[k] = 0;
        for (Index e = begin; e < end; ++e) {
            const float *__restrict s = in.source + a.col[e] * H;
            float *__restrict w = weight + e * H;
            for (Index k = 0; k < H; ++k) {
                const float logit = s[k] + t[k];
                w[k] = half_up * logit + half_down * std::abs(logit);  // leaky ReLU; its sign would be mispredicted
                if (w[k] > top.data[k]) top.data[k] = w[k];
            }
        }
        for (Index e = begin; e < end; ++e) {
            float *__restrict w = weight + e * H;
            for (Index k = 0; k < H; ++k) {
                const float value = exp_nonpositive(w[k] - top.data[k]);
                w[k] = value;
                sum.data[k] += value;
            }
        }
        for (Index k = 0; k < H; ++k) sum.data[k] = 1.0f / sum.data[k];
        for (Index k = 0; k < H * F; ++k) total.data[k] = 0;
        for (Index e = begin; e < end; ++e) {
            float *__restrict w = weight + e * H;
            const float *__restrict row = in.h + a.col[e] * H * F;
            for (Index k = 0; k < H; ++k) w[k] *= sum.data[k];
            for (Index k = 0; k < H; ++k) {
                const float used = in.kept ? w[k] * in.kept[e * H + k] : w[k];
                for (Index f = 0; f < F; ++f) total.data[k * F + f] += used * row[k * F + f];
            }
        }
        for (Index k = 0; k < H * F; ++k) out[i * H * F + k] = total.data[k];
    }
}

struct Gradients {
    float *h, *source, *target;
};

// With w the attention and u_ij = kept_ij <grad_i, h_j> its gradient, the logits get w_ij (u_ij - sum_k w_ik u_ik).
template <int Heads, int Width>
void backward_rows(const Arcs &a, const Inputs &in, const float *__restrict weight, const float *__restrict grad,
                   const Gradients &to) {
    const Index H = Heads ? Heads : a.heads, F = Width ? Width : a.width;
    const float slope = in.slope;
    Row<Heads> mean(H);
    std::vector<float> u;
    for (Index i = 0; i < a.targets; ++i) {
        const Index begin = a.rowptr[i], end = a.rowptr[i + 1];
        const float *__restrict g = grad + i * H * F, *__restrict t = in.target + i * H;
        for (Index k = 0; k < H; ++k) mean.data[k] = 0;
        u.resize((end - begin) * H);
        for (Index e = begin; e < end; ++e) {
            const float *__restrict h = in.h + a.col[e] * H * F, *__restrict w = weight + e * H;
            float *__restrict into = to.h + a.col[e] * H * F, *__restrict ue = u.data() + (e - begin) * H;
            for (Index k = 0; k < H; ++k) {
                const float keep = in.kept ? in.kept[e * H + k] : 1.0f, used = w[k] * keep;
                float dot = 0;
                for (Index f = 0; f < F; ++f) dot += g[k * F + f] * h[k * F + f];
                for (Index f = 0; f < F; ++f) into[k * F + f] += used * g[k * F + f];
                ue[k] = dot * keep;
                mean.data[k] += used * dot;
            }
        }
        for (Index e = begin; e < end; ++e) {
            const float *__restrict s = in.source + a.col[e] * H, *__restrict w = weight + e * H;
            const float *__restrict ue = u.data() + (e - begin) * H;
            float *__restrict to_source = to.source + a.col[e] * H, *__restrict to_target = to.target + i * H;
            for (Index k = 0; k < H; ++k) {
                const float score = w[k] * (ue[k] - mean.data[k]);
                const float value = score * (slope + (1.0f - slope) * static_cast<float>(s[k] + t[k] > 0));
                to_target[k] += value;
                to_source[k] += value;
            }
        }
    }
}

Arcs arcs_of(const IndexIn &rowptr, const IndexIn &col, const Floats3In &h) {
    return {rowptr.data(), col.data(), static_cast<Index>(rowptr.size()) - 1, static_cast<Index>(h.shape(1)),
            static_cast<Index>(h.shape(2))};
}

void attend(IndexIn rowptr, IndexIn col, Floats3In h, Floats2In source, Floats2In target, float slope,
            std::optional<Floats2In> kept, Floats3Out out, Floats2Out weight) {
    nb::gil_scoped_release release;
    const Arcs a = arcs_of(rowptr, col, h);
    const Inputs in{h.data(), source.data(), target.data(), kept ? kept->data() : nullptr, slope};
    const auto run = a.heads == 8 && a.width == 8    ? forward_rows<8, 8>
                     : a.heads == 8 && a.width == 32 ? forward_rows<8, 32>
                     : a.heads == 1                  ? forward_rows<1, 0>
                                                     : forward_rows<0, 0>;
    run(a, in, out.data(), weight.data());
}

void attend_backward(IndexIn rowptr, IndexIn col, Floats3In h, Floats2In source, Floats2In target, float slope,
                     std::optional<Floats2In> kept, Floats2In weight, Floats3In grad, Floats3Out grad_h,
                     Floats2Out grad_source, Floats2Out grad_target) {
    nb::gil_scoped_release release;
    const Arcs a = arcs_of(rowptr, col, h);
    const Inputs in{h.data(), source.data(), target.data(), kept ? kept->data() : nullptr, slope};
    const auto run = a.heads == 8 && a.width == 8    ? backward_rows<8, 8>
                     : a.heads == 8 && a.width == 32 ? backward_rows<8, 32>
                     : a.heads == 1                  ? backward_rows<1, 0>
                                                     : backward_rows<0, 0>;
    run(a, in, weight.data(), grad.data(), {grad_h.data(), grad_source.data(), grad_target.data()});
}

}  // namespace

void add_attention(nb::module_ &m) {
    m.def("attend", &attend, nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(),
          nb::arg().noconvert(), nb::arg(), nb::arg().noconvert().none(), nb::arg().noconvert(), nb::arg().noconvert());
    m.def("attend_backward", &attend_backward, nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(),
          nb::arg().noconvert(), nb::arg().noconvert(), nb::arg(), nb::arg().noconvert().none(), nb::arg().noconvert(),
          nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert());
}
