// Messages of belief propagation, compiled once for each instruction set (GRAPHNOISE_ISA). A row of classes is a number of full
// vectors, padded in scratch memory.

#include "beliefs/rows.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "simd/row_vectors.h"

namespace graphnoise::beliefs {
namespace {

constexpr int N = register_bytes / static_cast<int>(sizeof(float));
using Lanes = Vec<float, N>;
using Bits = Vec<std::int32_t, N>;

// exp and log of single precision, as in Cephes (S. L. Moshier); log of normal numbers above 0, exp of at most 0, and 0 below
// -40: products of two results are normal numbers or 0, since others are slow.
INLINE Lanes exp_of(Lanes x) {
    const auto tiny = x < -40.0f;
    x = tiny ? Lanes{} : x;
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
    p *= bits_of<Lanes>((converted<std::int32_t, N>(n) + 127) << 23);
    return tiny ? Lanes{} : p;
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

// Folded in halves, which is shorter than lane by lane.
template <int M, class Fold>
INLINE float folded(const Vec<float, M> &v, Fold fold) {
    if constexpr (M == 1) {
        return v;
    } else {
        Vec<float, M / 2> half[2];
        std::memcpy(half, &v, sizeof v);
        return folded<M / 2>(fold(half[0], half[1]), fold);
    }
}

INLINE float sum_of(const Lanes &v) {
    return folded<N>(v, [](const auto &a, const auto &b) { return a + b; });
}

INLINE float largest_of(const Lanes &v) {
    return folded<N>(v, [](const auto &a, const auto &b) { return a > b ? a : b; });
}

// Numbers of neighbours with a logarithm in a table.
constexpr int few = 512;

class Chunk {
  public:
    explicit Chunk(const Arguments &s)
        : s_(s), classes_(static_cast<int>(s.classes)), width_((classes_ + N - 1) / N * N), memory_(static_cast<std::size_t>(width_) * static_cast<std::size_t>(3 * classes_ + 11)) {
        float *next = memory_.data();
        const auto take = [&](int rows) { return std::exchange(next, next + static_cast<Index>(rows) * width_); };
        affinity_ = take(classes_);
        coupling_ = take(classes_);
        part_ = take(classes_);
        for (float **row : {&prior_, &baseline_, &slope_, &left_, &limit_, &out_own_, &out_other_, &old_own_, &old_other_, &score_}) *row = take(1);
        for (int c = 0; c < classes_; ++c) {
            copy(affinity_ + c * width_, s.affinity + c * classes_);
            copy(coupling_ + c * width_, s.coupling + c * classes_);
        }
        copy(prior_, s.prior);
        copy(baseline_, s.baseline);
        copy(slope_, s.slope);
        if (s.weight == nullptr) {
            for (int d = 0; d < few; ++d) gains_[d] = std::log1p(static_cast<float>(d));
        }
        // Lanes beyond the last class get no probability, whatever is read there.
        for (int c = 0; c < width_; ++c) limit_[c] = c < classes_ ? 3e38f : -1e30f;
    }

    void run(Index begin, Index end, double *joint) {
        const Index C = classes_;
        for (Index k = 0; k < C * C; ++k) joint[k] = 0;
        int held = 0;
        for (Index i = begin; i < end; ++i) {
            const Index last = s_.rowptr[i + 1];
            Index e = s_.rowptr[i];
            while (e < last && s_.col[e] < i) ++e;
            for (; e < last; ++e) {
                if (e + ahead < last) fetch(e + ahead);
                const Index j = s_.col[e], back = s_.reverse[e];
                copy(old_own_, s_.messages + back * C);
                copy(old_other_, s_.messages + e * C);
                send(i, e, old_other_, old_own_, s_.field + i * C, out_own_);
                send(j, back, old_own_, old_other_, s_.field + j * C, out_other_);
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
    float gains_[few];
    float *affinity_, *coupling_, *part_, *prior_, *baseline_, *slope_, *left_, *limit_, *out_own_, *out_other_, *old_own_, *old_other_, *score_;

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
        double total = s_.total[i];
        float count, scale, rest, gain;
        const float *sums = s_.sums + i * classes_;
        if (s_.weight == nullptr) {
            total -= 1;
            count = static_cast<float>(total);
            scale = rest = 1 / (count + 1);
            gain = total < few ? gains_[static_cast<int>(total)] : std::log1p(count);
            for (int k = 0; k < width_; k += N) store<N>(left_ + k, load<N>(sums + k) - load<N>(came + k));
        } else {
            double square = s_.square[i];
            if (const Index top = s_.heaviest[i]; top == e) {
                copy(left_, sums);
            } else {
                const float *heavy = s_.heavy + i * classes_;
                const float a = s_.weight[e];
                const double most = s_.weight[top];
                total += most - a;
                square += most * most - static_cast<double>(a) * a;
                for (int k = 0; k < width_; k += N) store<N>(left_ + k, (load<N>(sums + k) - a * load<N>(came + k)) + load<N>(heavy + k));
            }
            count = total > 0 ? static_cast<float>(total * total / square) : 0.0f;
            rest = 1 / (count + 1);
            scale = total > 0 ? static_cast<float>(static_cast<double>(count) / total) * rest : 0.0f;
            gain = std::log1p(count);
        }
        const float power = s_.vote + s_.vote_count * gain;
        for (int k = 0; k < width_; k += N) {
            const Lanes left = load<N>(left_ + k);
            store<N>(left_ + k, (left > 0.0f ? left : Lanes{}) * scale + rest * load<N>(prior_ + k));
        }
        Lanes largest = Lanes{} - 3e38f;
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
            Lanes score = load<N>(field + k) + power * (log_of(even) - load<N>(baseline_ + k)) + gain * load<N>(slope_ + k);
            const Lanes limit = load<N>(limit_ + k);
            score = score < limit ? score : limit;
            store<N>(score_ + k, score);
            largest = score > largest ? score : largest;
        }
        const float most = largest_of(largest);
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

// The same for two classes: edges are collected, and each lane has a message.
class TwoClasses {
  public:
    explicit TwoClasses(const Arguments &s) : s_(s) {
        for (int d = 0; d < few; ++d) gains_[d] = std::log1p(static_cast<float>(d));
    }

    void run(Index begin, Index end, double *joint) {
        std::fill_n(joint, 4, 0.0);
        int held = 0, edges = 0;
        for (Index i = begin; i < end; ++i) {
            const Index last = s_.rowptr[i + 1];
            Index e = s_.rowptr[i];
            while (e < last && s_.col[e] < i) ++e;
            for (; e < last; ++e) {
                if (e + ahead < s_.rowptr[s_.nodes]) fetch(e + ahead);
                const Index j = s_.col[e], back = s_.reverse[e];
                read(held, i, e, back);
                read(lanes + held, j, back, e);
                if (++held == lanes) {
                    send(held);
                    held = 0;
                    // Sums of single precision are short.
                    if ((edges += lanes) >= 512 * N) {
                        flush(joint);
                        edges = 0;
                    }
                }
            }
        }
        if (held > 0) send(held);
        flush(joint);
    }

  private:
    static constexpr int lanes = 64, ahead = 12;
    const Arguments &s_;
    float gains_[few];
    // Of the messages from the smaller ends, then of those from the other ends.
    float left_[2][2 * lanes]{}, field_[2][2 * lanes]{}, old_[2][2 * lanes]{}, new_[2][2 * lanes]{};
    // d, and d over the sum of weights.
    float count_[2 * lanes]{}, ratio_[2 * lanes]{}, gain_[2 * lanes]{};
    Index to_[2 * lanes];
    Lanes part_[4]{};

    INLINE void fetch(Index e) const {
        const Index j = s_.col[e];
        __builtin_prefetch(s_.messages + s_.reverse[e] * 2);
        __builtin_prefetch(s_.sums + j * 2);
        __builtin_prefetch(s_.field + j * 2);
        __builtin_prefetch(s_.total + j);
    }
    // Read what the message of node i needs, without what came by arc e; it goes to arc `to`.
    INLINE void read(int m, Index i, Index e, Index to) {
        const float *sums = s_.sums + i * 2, *came = s_.messages + e * 2;
        double total = s_.total[i];
        float a = 1, heavy[2] = {0, 0};
        to_[m] = to;
        ratio_[m] = 1;
        if (s_.weight == nullptr) {
            count_[m] = static_cast<float>(total -= 1);
            gain_[m] = total < few ? gains_[static_cast<int>(total)] : std::log1p(count_[m]);
        } else {
            double square = s_.square[i];
            const Index top = s_.heaviest[i];
            a = s_.weight[e];
            if (top == e) {
                a = 0;
            } else {
                const double most = s_.weight[top];
                total += most - static_cast<double>(a);
                square += most * most - static_cast<double>(a) * static_cast<double>(a);
                std::memcpy(heavy, s_.heavy + i * 2, sizeof heavy);
            }
            count_[m] = total > 0 ? static_cast<float>(total * total / square) : 0.0f;
            ratio_[m] = total > 0 ? static_cast<float>(static_cast<double>(count_[m]) / total) : 0.0f;
            gain_[m] = std::log1p(count_[m]);
        }
        for (int c = 0; c < 2; ++c) {
            left_[c][m] = (sums[c] - a * came[c]) + heavy[c];
            field_[c][m] = s_.field[i * 2 + c];
            old_[c][m] = s_.messages[to * 2 + c];
        }
    }
    // Compute and write the messages of so many edges.
    void send(int held) {
        for (int m = 0; m < 2 * lanes; m += N) {
            const Lanes rest = 1.0f / (load<N>(count_ + m) + 1.0f), scale = load<N>(ratio_ + m) * rest;
            const Lanes gain = load<N>(gain_ + m), power = s_.vote + s_.vote_count * gain;
            Lanes u[2], score[2];
            for (int c = 0; c < 2; ++c) {
                const Lanes left = load<N>(left_[c] + m);
                u[c] = (left > 0.0f ? left : Lanes{}) * scale + rest * s_.prior[c];
            }
            for (int c = 0; c < 2; ++c) {
                Lanes mean = u[0] * s_.affinity[c] + u[1] * s_.affinity[2 + c];
                mean = mean < 1e-30f ? Lanes{} + 1e-30f : mean;
                score[c] = load<N>(field_[c] + m) + power * (log_of(mean) - s_.baseline[c]) + gain * s_.slope[c];
                score[c] = score[c] < 3e38f ? score[c] : Lanes{} + 3e38f;
            }
            const Lanes ahead_by = score[1] - score[0], least = exp_of(ahead_by < 0.0f ? ahead_by : -ahead_by);
            const Lanes high = 1.0f / (1.0f + least), low = least * high;
            const Lanes p[2] = {ahead_by < 0.0f ? high : low, ahead_by < 0.0f ? low : high};
            for (int c = 0; c < 2; ++c) store<N>(new_[c] + m, s_.keep * load<N>(old_[c] + m) + (1 - s_.keep) * p[c]);
        }
        for (int half = 0; half < 2; ++half)
            for (int m = half * lanes; m < half * lanes + held; ++m)
                for (int c = 0; c < 2; ++c) s_.messages[to_[m] * 2 + c] = new_[c][m];
        // Products of both messages of an edge, over the sum of these times the coupling; none in lanes without an edge.
        for (int half = 0; half < 2; ++half)
            for (int m = half * lanes + held; m < (half + 1) * lanes; ++m) new_[0][m] = new_[1][m] = 0;
        for (int m = 0; m < lanes; m += N) {
            Lanes product[4], sum{};
            for (int k = 0; k < 4; ++k) {
                product[k] = load<N>(new_[k / 2] + m) * load<N>(new_[k % 2] + lanes + m);
                sum += product[k] * s_.coupling[k];
            }
            const Lanes part = sum > 0.0f ? 1.0f / sum : Lanes{};
            for (int k = 0; k < 4; ++k) part_[k] += part * product[k];
        }
    }
    void flush(double *joint) {
        for (int k = 0; k < 4; ++k) {
            joint[k] += static_cast<double>(sum_of(part_[k]));
            part_[k] = Lanes{};
        }
    }
};

void run(const Arguments &s, Index begin, Index end, double *joint) {
    if (s.classes == 2) {
        TwoClasses(s).run(begin, end, joint);
    } else {
        Chunk(s).run(begin, end, joint);
    }
}

}  // namespace

Run JOIN(kernel_, GRAPHNOISE_ISA)() { return run; }

}  // namespace graphnoise::beliefs
