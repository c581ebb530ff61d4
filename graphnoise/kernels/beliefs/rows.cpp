// Messages of belief propagation, compiled once for each instruction set (GRAPHNOISE_ISA). A row of classes is a number of full
// vectors, padded in scratch memory.

#include "beliefs/rows.h"

#include <cmath>
#include <utility>
#include <vector>

#include "simd/row_vectors.h"

namespace graphnoise::beliefs {
namespace {

constexpr int N = register_bytes / static_cast<int>(sizeof(float));
using Lanes = Vec<float, N>;
using Bits = Vec<std::int32_t, N>;

// exp and log of single precision, as in Cephes (S. L. Moshier); exp of at most 0, log of normal numbers above 0.
INLINE Lanes exp_of(Lanes x) {
    x = x < -87.0f ? Lanes{} - 87.0f : x;
    const Lanes magic = Lanes{} + 12582912.0f;
    const Lanes n = (x * 1.44269504f + magic) - magic;
    const Lanes r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    Lanes p = Lanes{} + 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    return p * bits_of<Lanes>((converted<std::int32_t, N>(n) + 127) << 23);
}

INLINE Lanes log_of(Lanes x) {
    const Bits bits = bits_of<Bits>(x);
    Lanes e = converted<float, N>((bits >> 23) - 126);
    Lanes m = bits_of<Lanes>((bits & 0x7fffff) | 0x3f000000);
    const auto low = m < 0.707106781f;
    e = low ? e - 1.0f : e;
    m = (low ? m + m : m) - 1.0f;
    const Lanes z = m * m;
    Lanes p = Lanes{} + 7.0376836292e-2f;
    p = p * m - 1.1514610310e-1f;
    p = p * m + 1.1676998740e-1f;
    p = p * m - 1.2420140846e-1f;
    p = p * m + 1.4249322787e-1f;
    p = p * m - 1.6668057665e-1f;
    p = p * m + 2.0000714765e-1f;
    p = p * m - 2.4999993993e-1f;
    p = p * m + 3.3333331174e-1f;
    return m + (m * z * p - e * 2.12194440e-4f - 0.5f * z) + e * 0.693359375f;
}

INLINE float sum_of(const Lanes &v) {
    float sum = 0;
    for (int l = 0; l < N; ++l) sum += v[l];
    return sum;
}


class Chunk {
  public:
    explicit Chunk(const Arguments &s)
        : s_(s), classes_(static_cast<int>(s.classes)), width_((classes_ + N - 1) / N * N), memory_(static_cast<std::size_t>(width_) * static_cast<std::size_t>(3 * classes_ + 12)) {
        float *next = memory_.data();
        const auto take = [&](int rows) { return std::exchange(next, next + static_cast<Index>(rows) * width_); };
        affinity_ = take(classes_);
        coupling_ = take(classes_);
        part_ = take(classes_);
        for (float **row : {&prior_, &baseline_, &slope_, &left_, &field_own_, &field_other_, &out_own_, &out_other_, &old_own_, &old_other_, &score_}) *row = take(1);
        for (int c = 0; c < classes_; ++c) {
            copy(affinity_ + c * width_, s.affinity + c * classes_);
            copy(coupling_ + c * width_, s.coupling + c * classes_);
        }
        copy(prior_, s.prior);
        copy(baseline_, s.baseline);
        copy(slope_, s.slope);
        // Lanes beyond the last class get no probability.
        for (int c = classes_; c < width_; ++c) field_own_[c] = field_other_[c] = -1e30f;
    }

    void run(Index begin, Index end, double *joint) {
        const Index C = classes_;
        for (Index k = 0; k < C * C; ++k) joint[k] = 0;
        int held = 0;
        for (Index i = begin; i < end; ++i) {
            const Index last = s_.rowptr[i + 1];
            Index e = s_.rowptr[i];
            while (e < last && s_.col[e] < i) ++e;
            if (e < last) copy(field_own_, s_.field + i * C);
            for (; e < last; ++e) {
                if (e + ahead < last) fetch(e + ahead);
                const Index j = s_.col[e], back = s_.reverse[e];
                copy(field_other_, s_.field + j * C);
                copy(old_own_, s_.messages + back * C);
                copy(old_other_, s_.messages + e * C);
                send(i, e, old_other_, old_own_, field_own_, out_own_);
                send(j, back, old_own_, old_other_, field_other_, out_other_);
                std::memcpy(s_.messages + back * C, out_own_, static_cast<std::size_t>(C) * sizeof(float));
                std::memcpy(s_.messages + e * C, out_other_, static_cast<std::size_t>(C) * sizeof(float));
                join();
                // Sums of single precision are short.
                if (++held == 512) {
                    flush(joint);
                    held = 0;
                }
            }
        }
        flush(joint);
    }

  private:
    static constexpr Index ahead = 6;
    const Arguments &s_;
    const int classes_, width_;
    std::vector<float> memory_;
    float *affinity_, *coupling_, *part_, *prior_, *baseline_, *slope_, *left_, *field_own_, *field_other_, *out_own_, *out_other_, *old_own_, *old_other_, *score_;

    INLINE void copy(float *to, const float *from) const {
        std::memcpy(to, from, static_cast<std::size_t>(classes_) * sizeof(float));
    }
    INLINE void fetch(Index e) const {
        const Index C = classes_, j = s_.col[e];
        for (Index c = 0; c < C; c += 16) {
            __builtin_prefetch(s_.messages + s_.reverse[e] * C + c);
            __builtin_prefetch(s_.sums + j * C + c);
            __builtin_prefetch(s_.field + j * C + c);
        }
        __builtin_prefetch(s_.total + j);
    }
    // The message of node i without what came by arc e, mixed with the old one.
    INLINE void send(Index i, Index e, const float *came, const float *old, const float *field, float *out) {
        double total = s_.total[i], square = s_.square[i];
        const float *sums = s_.sums + i * classes_;
        if (s_.weight == nullptr) {
            total = square = total - 1;
            for (int c = 0; c < classes_; ++c) left_[c] = sums[c] - came[c];
        } else if (const Index top = s_.heaviest[i]; top == e) {
            copy(left_, sums);
        } else {
            const float *heavy = s_.heavy + i * classes_;
            const float a = s_.weight[e];
            const double most = s_.weight[top];
            total += most - a;
            square += most * most - static_cast<double>(a) * a;
            for (int c = 0; c < classes_; ++c) left_[c] = (sums[c] - a * came[c]) + heavy[c];
        }
        const float count = total > 0 ? static_cast<float>(total * total / square) : 0.0f;
        const float scale = total > 0 ? static_cast<float>(count / (total * (count + 1))) : 0.0f, rest = 1 / (count + 1);
        const float gain = std::log1p(count), power = s_.vote + s_.vote_count * gain;
        Lanes largest = Lanes{} - 3e38f;
        for (int k = 0; k < width_; k += N) {
            const Lanes left = load<N>(left_ + k);
            store<N>(left_ + k, (left > 0.0f ? left : Lanes{}) * scale + rest * load<N>(prior_ + k));
        }
        for (int k = 0; k < width_; k += N) {
            Lanes even{}, odd{};
            int c = 0;
            for (; c + 1 < classes_; c += 2) {
                even += left_[c] * load<N>(affinity_ + c * width_ + k);
                odd += left_[c + 1] * load<N>(affinity_ + (c + 1) * width_ + k);
            }
            if (c < classes_) even += left_[c] * load<N>(affinity_ + c * width_ + k);
            even += odd;
            even = even < 1e-30f ? Lanes{} + 1e-30f : even;
            const Lanes score = load<N>(field + k) + power * (log_of(even) - load<N>(baseline_ + k)) + gain * load<N>(slope_ + k);
            store<N>(score_ + k, score);
            largest = score > largest ? score : largest;
        }
        float most = largest[0];
        for (int l = 1; l < N; ++l) most = largest[l] > most ? largest[l] : most;
        Lanes sums_of{};
        for (int k = 0; k < width_; k += N) {
            const Lanes p = exp_of(load<N>(score_ + k) - most);
            store<N>(score_ + k, p);
            sums_of += p;
        }
        const float part = (1 - s_.keep) / sum_of(sums_of);
        for (int k = 0; k < width_; k += N) store<N>(out + k, s_.keep * load<N>(old + k) + part * load<N>(score_ + k));
    }
    // Adds the products of both messages of an edge, over the sum of these times the coupling.
    INLINE void join() {
        Lanes sum{};
        for (int k = 0; k < width_; k += N) {
            Lanes at{};
            for (int c = 0; c < classes_; ++c) at += out_own_[c] * load<N>(coupling_ + c * width_ + k);
            sum += at * load<N>(out_other_ + k);
        }
        const float total = sum_of(sum), part = total > 0 ? 1 / total : 0.0f;
        for (int c = 0; c < classes_; ++c) {
            const float by = part * out_own_[c];
            for (int k = 0; k < width_; k += N) {
                float *at = part_ + c * width_ + k;
                store<N>(at, load<N>(at) + by * load<N>(out_other_ + k));
            }
        }
    }
    void flush(double *joint) {
        for (int c = 0; c < classes_; ++c) {
            for (int k = 0; k < classes_; ++k) joint[c * classes_ + k] += static_cast<double>(part_[c * width_ + k]);
            for (int k = 0; k < width_; ++k) part_[c * width_ + k] = 0;
        }
    }
};

void run(const Arguments &s, Index begin, Index end, double *joint) { Chunk(s).run(begin, end, joint); }

}  // namespace

Run JOIN(kernel_, GRAPHNOISE_ISA)() { return run; }

}  // namespace graphnoise::beliefs
