// Scores of pairs, sums of rows grouped by row, and Adam on some rows, for gradient steps; __init__.py defines the operations. Each sum belongs
// to one row and is taken in the order of the entries, so results do not depend on the number of threads.

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "recsys_native.h"

namespace {

using std::int32_t;

constexpr Index task_rows = 256;

template <class T>
T dot(const T *a, const T *b, Index width) {
    // Parallel sums, so that vectorisation needs no reordering.
    constexpr Index lanes = 8;
    T part[lanes] = {};
    Index k = 0;
    for (; k + lanes <= width; k += lanes)
        for (Index l = 0; l < lanes; ++l) part[l] += a[k + l] * b[k + l];
    T sum = ((part[0] + part[4]) + (part[2] + part[6])) + ((part[1] + part[5]) + (part[3] + part[7]));
    for (; k < width; ++k) sum += a[k] * b[k];
    return sum;
}

// out[b, t] = <left[users[b]], right[items[b, t]]> (+ bias[items[b, t]]); an item below 0 scores 0.
template <class T>
void scores(int threads, Address left, Address right, Index width, Address bias, Address users, Address items, Index rows,
            Index each, Address out) {
    const auto *U = at<const T>(left), *V = at<const T>(right), *b = at<const T>(bias);
    const auto *user = at<const int32_t>(users), *item = at<const int32_t>(items);
    auto *score = at<T>(out);
    InterruptibleTeam team;
    {
        nb::gil_scoped_release release;
        team.run(threads, (rows + task_rows - 1) / task_rows, [&](int, Index task) {
            constexpr Index ahead = 8;
            const Index begin = task * task_rows * each, end = std::min(rows, (task + 1) * task_rows) * each;
            for (Index e = begin; e < end; ++e) {
                if (e + ahead < end && item[e + ahead] >= 0) {
                    const char *row = reinterpret_cast<const char *>(V + item[e + ahead] * width);
                    for (std::size_t byte = 0; byte < static_cast<std::size_t>(width) * sizeof(T); byte += 64)
                        __builtin_prefetch(row + byte);
                }
                const Index j = item[e];
                score[e] = j < 0 ? T(0) : dot(U + user[e / each] * width, V + j * width, width) + (b ? b[j] : T(0));
            }
        });
    }
    team.rethrow();
}

// Group entries by row, stably: order[start[g] .. start[g + 1]] are the entries of row[g]; rows ascend.
Index group(Address ids, Index count, Index bound, Address row, Address start, Address order) {
    const auto *id = at<const int32_t>(ids);
    auto *rows = at<int32_t>(row), *orders = at<int32_t>(order);
    auto *starts = at<std::int64_t>(start);
    nb::gil_scoped_release release;
    std::vector<int32_t> from(static_cast<std::size_t>(count)), to(static_cast<std::size_t>(count));
    for (Index e = 0; e < count; ++e) from[static_cast<std::size_t>(e)] = static_cast<int32_t>(e);
    constexpr int bits = 11;
    // Radix sort, least significant digits first.
    for (int shift = 0; shift == 0 || (bound - 1) >> shift > 0; shift += bits) {
        Index place[(1 << bits) + 1] = {};
        for (Index e = 0; e < count; ++e) ++place[((id[e] >> shift) & ((1 << bits) - 1)) + 1];
        for (int d = 0; d < 1 << bits; ++d) place[d + 1] += place[d];
        for (const int32_t e : from) to[static_cast<std::size_t>(place[(id[e] >> shift) & ((1 << bits) - 1)]++)] = e;
        from.swap(to);
    }
    Index groups = 0;
    for (Index e = 0; e < count; ++e) {
        const int32_t entry = from[static_cast<std::size_t>(e)];
        orders[e] = entry;
        if (e == 0 || id[entry] != rows[groups - 1]) {
            rows[groups] = id[entry];
            starts[groups++] = e;
        }
    }
    starts[groups] = count;
    return groups;
}

// out[g] = sum of weight[e] table[other[e]] over the entries e of group g.
template <class T>
void sums(int threads, Index groups, Address start, Address order, Address other, Address weight, Address table, Index width,
          Address out) {
    const auto *starts = at<const std::int64_t>(start);
    const auto *entry = at<const int32_t>(order), *others = at<const int32_t>(other);
    const auto *w = at<const T>(weight), *F = at<const T>(table);
    auto *sum = at<T>(out);
    constexpr Index rows = 64;
    InterruptibleTeam team;
    {
        nb::gil_scoped_release release;
        team.run(threads, (groups + rows - 1) / rows, [&](int, Index task) {
            for (Index g = task * rows; g < std::min(groups, (task + 1) * rows); ++g) {
                T *total = sum + g * width;
                std::fill_n(total, width, T(0));
                for (std::int64_t p = starts[g]; p < starts[g + 1]; ++p) {
                    const T factor = w[entry[p]];
                    const T *row = F + others[entry[p]] * width;
                    for (Index k = 0; k < width; ++k) total[k] += factor * row[k];
                }
            }
        });
    }
    team.rethrow();
}

// A step of Adam along the gradient of each row of `rows`, with L2 once per draw of the row.
template <class T>
void adam(Index count, Address rows, Address gradient, Address counts, Index width, Address table, Address first, Address second,
          double l2, double beta1, double beta2, double scale, double correction, double eps) {
    const auto *row = at<const int32_t>(rows);
    const auto *slope = at<const T>(gradient), *draws = at<const T>(counts);
    const T decay = static_cast<T>(l2), keep1 = static_cast<T>(beta1), keep2 = static_cast<T>(beta2);
    const T new1 = static_cast<T>(1 - beta1), new2 = static_cast<T>(1 - beta2);
    const T step = static_cast<T>(scale), divisor = static_cast<T>(correction), least = static_cast<T>(eps);
    nb::gil_scoped_release release;
    for (Index r = 0; r < count; ++r) {
        const Index begin = row[r] * width;
        T *value = at<T>(table) + begin, *mean = at<T>(first) + begin, *square = at<T>(second) + begin;
        const T penalty = decay * draws[r];
        for (Index k = 0; k < width; ++k) {
            const T g = slope[r * width + k] - penalty * value[k];
            const T m = keep1 * mean[k] + new1 * g, v = keep2 * square[k] + new2 * g * g;
            mean[k] = m;
            square[k] = v;
            value[k] += step * m / (std::sqrt(v / divisor) + least);
        }
    }
}

}  // namespace

void add_pairs(nb::module_ &m) {
    m.def("pair_scores_float32", &scores<float>);
    m.def("pair_scores_float64", &scores<double>);
    m.def("adam_float32", &adam<float>);
    m.def("adam_float64", &adam<double>);
    m.def("group", &group);
    m.def("grouped_sums_float32", &sums<float>);
    m.def("grouped_sums_float64", &sums<double>);
}
