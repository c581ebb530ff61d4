// Negative items of users; reference.py has the same draws in NumPy. Arrays are passed as addresses that the caller has
// checked.

#include <algorithm>

#include "alias.h"
#include "counter.h"
#include "recsys_native.h"

namespace {

using namespace recsys;

// Draws whose bits are prefetched together.
constexpr Index window = 64;
// Draws per task.
constexpr Index task_size = 8192;

struct Draws {
    Known known;
    // Null for uniform draws.
    const Column *table;
    // Used with a table.
    const double *weight;
    Word items, key, first;
    const std::int32_t *users;
    // Draws per user.
    Index each;
    int attempts;
    bool verify, redraw;
    std::int32_t *out;

    std::int32_t candidate(Word counter) const {
        const Word w = word(key, counter);
        return table == nullptr ? static_cast<std::int32_t>(below(w, items)) : weighted(w, table, items);
    }

    // After the attempts: one draw from the distribution restricted to unknown items; -1 if there are none.
    std::int32_t exact(std::int64_t user, Word counter) const {
        const std::int32_t *begin = known.col + known.rowptr[user], *end = known.col + known.rowptr[user + 1];
        const Word w = word(key, counter);
        if (table == nullptr) {
            const Word free = items - static_cast<Word>(end - begin);
            if (free == 0) return -1;
            const auto rank = static_cast<std::int32_t>(below(w, free));
            // Binary search for the number of known items with fewer than rank + 1 free ones before them.
            Index low = 0, size = end - begin;
            while (size > 0) {
                const Index half = size / 2;
                if (begin[low + half] - static_cast<std::int32_t>(low + half) <= rank) {
                    low += half + 1;
                    size -= half + 1;
                } else {
                    size = half;
                }
            }
            return rank + static_cast<std::int32_t>(low);
        }
        double total = 0;
        over_free(begin, end, [&](std::int32_t j) { return total += weight[j], true; });
        const double target = static_cast<double>(w >> 11) * 0x1p-53 * total;
        double sum = 0;
        std::int32_t item = -1;
        over_free(begin, end, [&](std::int32_t j) {
            sum += weight[j];
            if (weight[j] > 0) item = j;
            return !(sum > target);
        });
        return item;
    }

    template <class Body>
    void over_free(const std::int32_t *known_item, const std::int32_t *end, Body &&body) const {
        for (std::int32_t j = 0; j < static_cast<std::int32_t>(items); ++j) {
            if (known_item < end && *known_item == j) {
                ++known_item;
            } else if (!body(j)) {
                return;
            }
        }
    }

    std::int32_t again(std::int64_t user, Word counter) const {
        for (int a = 1; a < attempts; ++a) {
            const std::int32_t j = candidate(counter + static_cast<Word>(a));
            if (!known.has(user, j)) return j;
        }
        return exact(user, counter + static_cast<Word>(attempts));
    }

    void run(Index begin, Index end) const {
        std::int32_t item[window];
        for (Index start = begin; start < end; start += window) {
            const Index size = std::min(window, end - start);
            Index row = start / each, left = each - start % each;
            for (Index t = 0; t < size; ++t) {
                item[t] = candidate((first + static_cast<Word>(start + t)) * 32);
                if (verify) known.fetch(users[row], item[t]);
                if (--left == 0) {
                    ++row;
                    left = each;
                }
            }
            if (verify) {
                row = start / each;
                left = each - start % each;
                for (Index t = 0; t < size; ++t) {
                    const std::int64_t user = users[row];
                    if (known.has(user, item[t]))
                        item[t] = redraw ? again(user, (first + static_cast<Word>(start + t)) * 32) : -1;
                    if (--left == 0) {
                        ++row;
                        left = each;
                    }
                }
            }
            std::copy_n(item, size, out + start);
        }
    }
};

void draw_negatives(int threads, Address rowptr, Address col, Address bits, Index words, Index items, Address table,
                    Address weight, std::uint64_t key, std::uint64_t first, Address users, Index rows, Index each,
                    int attempts, bool verify, bool redraw, Address out) {
    const Draws draws{known_at(rowptr, col, bits, words), at<const Column>(table), at<const double>(weight),
                      static_cast<Word>(items), key, first, at<const std::int32_t>(users), each, attempts, verify, redraw,
                      at<std::int32_t>(out)};
    const Index total = rows * each;
    InterruptibleTeam team;
    {
        nb::gil_scoped_release release;
        team.run(threads, (total + task_size - 1) / task_size, [&](int, Index task) {
            draws.run(task * task_size, std::min(total, (task + 1) * task_size));
        });
    }
    team.rethrow();
}

void alias_table(Address weight, Index items, Address table) {
    nb::gil_scoped_release release;
    fill_table(at<const double>(weight), items, at<Column>(table));
}

void known_bits(int threads, Address rowptr, Address col, Index users, Index words, Address bits) {
    const auto *start = at<const std::int64_t>(rowptr);
    const auto *items = at<const std::int32_t>(col);
    auto *row = at<std::uint64_t>(bits);
    constexpr Index rows = 4096;
    nb::gil_scoped_release release;
    graphnoise::parallel(threads, (users + rows - 1) / rows, [&](int, Index task) {
        for (Index u = task * rows; u < std::min(users, (task + 1) * rows); ++u)
            for (std::int64_t p = start[u]; p < start[u + 1]; ++p)
                row[u * words + (items[p] >> 6)] |= std::uint64_t{1} << (items[p] & 63);
    });
}

}  // namespace

void add_negatives(nb::module_ &m) {
    m.def("draw_negatives", &draw_negatives);
    m.def("alias_table", &alias_table);
    m.def("known_bits", &known_bits);
}
