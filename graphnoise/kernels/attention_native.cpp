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
// (relative error below 3e-7; below -87 the result stays at about 1e-38, which a sum of at least 1 does not feel).
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

// Compile-time sizes (0: read them) let the compiler unroll the loops over heads and over a head's features.
template <int Heads, int Width>
GRAPHNOISE_CLONES void forward_rows(const Arcs &a, const float *__restrict h, const float *__restrict source, const float *__restrict target, float slope,
                                    const float *__restrict kept, float *__restrict out, float *__restrict weight) {
    const Index H = Heads ? Heads : a.heads, F = Width ? Width : a.width;
    std::vector<float> highest(H), total(H);
    float *__restrict top = highest.data(), *sum = total.data();
    for (Index i = 0; i < a.targets; ++i) {
        const Index begin = a.rowptr[i], end = a.rowptr[i + 1];
        float *__restrict o = out + i * H * F;
        std::fill(o, o + H * F, 0.0f);
        std::fill(highest.begin(), highest.end(), -INFINITY);
        std::fill(total.begin(), total.end(), 0.0f);
        for (Index e = begin; e < end; ++e) {
            const float *__restrict s = source + a.col[e] * H, *__restrict t = target + i * H;
            float *__restrict w = weight + e * H;
            for (Index k = 0; k < H; ++k) {
                const float logit = s[k] + t[k];
                w[k] = logit > 0 ? logit : slope * logit;
                top[k] = std::max(top[k], w[k]);
            }
        }
        for (Index e = begin; e < end; ++e) {
            float *__restrict w = weight + e * H;
            for (Index k = 0; k < H; ++k) sum[k] += w[k] = exp_nonpositive(w[k] - top[k]);
        }
        for (Index e = begin; e < end; ++e) {
            float *__restrict w = weight + e * H;
            const float *__restrict row = h + a.col[e] * H * F;
            for (Index k = 0; k < H; ++k) {
                w[k] /= sum[k];
                const float used = kept ? w[k] * kept[e * H + k] : w[k];
                for (Index f = 0; f < F; ++f) o[k * F + f] += used * row[k * F + f];
            }
        }
    }
}

// With w the attention and u_ij = kept_ij <grad_i, h_j> its gradient, the logits get w_ij (u_ij - sum_k w_ik u_ik).
template <int Heads, int Width>
GRAPHNOISE_CLONES void backward_rows(const Arcs &a, const float *__restrict h, const float *__restrict source, const float *__restrict target, float slope,
                                     const float *__restrict kept, const float *__restrict weight, const float *__restrict grad, float *__restrict grad_h,
                                     float *__restrict grad_source, float *__restrict grad_target) {
    const Index H = Heads ? Heads : a.heads, F = Width ? Width : a.width;
    std::vector<float> mean(H), u;
    for (Index i = 0; i < a.targets; ++i) {
        const Index begin = a.rowptr[i], end = a.rowptr[i + 1];
        const float *__restrict g = grad + i * H * F;
        std::fill(mean.begin(), mean.end(), 0.0f);
        u.resize((end - begin) * H);
        for (Index e = begin; e < end; ++e) {
            const Index j = a.col[e];
            for (Index k = 0; k < H; ++k) {
                const float *__restrict gk = g + k * F, *__restrict hk = h + (j * H + k) * F;
                float *__restrict into = grad_h + (j * H + k) * F, dot = 0;
                for (Index f = 0; f < F; ++f) dot += gk[f] * hk[f];
                const float w = weight[e * H + k], keep = kept ? kept[e * H + k] : 1.0f;
                for (Index f = 0; f < F; ++f) into[f] += w * keep * gk[f];
                u[(e - begin) * H + k] = dot * keep;
                mean[k] += w * dot * keep;
            }
        }
        float *__restrict to_target = grad_target + i * H;
        for (Index e = begin; e < end; ++e) {
            const Index j = a.col[e];
            for (Index k = 0; k < H; ++k) {
                const float score = weight[e * H + k] * (u[(e - begin) * H + k] - mean[k]);
                const float logit = source[j * H + k] + target[i * H + k];
                const float d = logit > 0 ? score : slope * score;
                to_target[k] += d;
                grad_source[j * H + k] += d;
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
    const auto run = a.heads == 8 && a.width == 8    ? forward_rows<8, 8>
                     : a.heads == 8 && a.width == 32 ? forward_rows<8, 32>
                     : a.heads == 1                  ? forward_rows<1, 0>
                                                     : forward_rows<0, 0>;
    run(a, h.data(), source.data(), target.data(), slope, kept ? kept->data() : nullptr, out.data(), weight.data());
}

void attend_backward(IndexIn rowptr, IndexIn col, Floats3In h, Floats2In source, Floats2In target, float slope,
                     std::optional<Floats2In> kept, Floats2In weight, Floats3In grad, Floats3Out grad_h,
                     Floats2Out grad_source, Floats2Out grad_target) {
    nb::gil_scoped_release release;
    const Arcs a = arcs_of(rowptr, col, h);
    const auto run = a.heads == 8 && a.width == 8    ? backward_rows<8, 8>
                     : a.heads == 8 && a.width == 32 ? backward_rows<8, 32>
                     : a.heads == 1                  ? backward_rows<1, 0>
                                                     : backward_rows<0, 0>;
    run(a, h.data(), source.data(), target.data(), slope, kept ? kept->data() : nullptr, weight.data(), grad.data(),
        grad_h.data(), grad_source.data(), grad_target.data());
}

}  // namespace

void add_attention(nb::module_ &m) {
    m.def("attend", &attend, nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(),
          nb::arg().noconvert(), nb::arg(), nb::arg().noconvert().none(), nb::arg().noconvert(), nb::arg().noconvert());
    m.def("attend_backward", &attend_backward, nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(),
          nb::arg().noconvert(), nb::arg().noconvert(), nb::arg(), nb::arg().noconvert().none(), nb::arg().noconvert(),
          nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert());
}
