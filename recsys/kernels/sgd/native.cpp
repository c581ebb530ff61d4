// Epochs of stochastic gradient steps: lock-free, or by blocks that share no row; __init__.py defines the operations.

#include "sgd/rows.h"

#include <algorithm>
#include <mutex>
#include <numeric>
#include <string>
#include <vector>

#include <nanobind/stl/pair.h>
#include <nanobind/stl/vector.h>

#include "alias.h"
#include "recsys_native.h"
#ifdef GRAPHNOISE_X86
#include "simd/levels.h"
#endif

namespace {

using namespace recsys;

struct Tier {
    Steps steps;
    Sigmoids sigmoids;
};

Tier tier(const std::string &set) {
#ifdef GRAPHNOISE_X86
    if (set == "v4" && graphnoise::supports_v4()) return {steps_v4, sigmoids_v4};
    if (set == "v3" && graphnoise::supports_v3()) return {steps_v3, sigmoids_v3};
#endif
    if (set != "baseline") throw nb::value_error("an instruction set that this processor or build has not");
    return {steps_baseline, sigmoids_baseline};
}

std::vector<std::string> instruction_sets() {
    std::vector<std::string> sets;
#ifdef GRAPHNOISE_X86
    if (graphnoise::supports_v4()) sets.emplace_back("v4");
    if (graphnoise::supports_v3()) sets.emplace_back("v3");
#endif
    sets.emplace_back("baseline");
    return sets;
}

// Settings of an epoch, filled by __init__.py.
struct Setting {
    std::string set;
    int threads, rule, blocks, attempts;
    Address user, item, bias, flip_user, flip_item;
    float step, decay_user, decay_positive, decay_negative, decay_bias, decay_flip, flip_rate;
    Address rowptr, col, bits;
    Index words;
    std::uint64_t key;

    Factors factors() const {
        return {at<float>(user), at<float>(item), at<float>(bias), at<float>(flip_user), at<float>(flip_item), blocks};
    }
    Rates rates() const {
        return {step, decay_user, decay_positive, decay_negative, decay_bias, decay_flip, flip_rate};
    }
};

class Total {
  public:
    void add(const Tally &tally) {
        const std::lock_guard<std::mutex> lock(mutex_);
        all_.correct += tally.correct;
        all_.skipped += tally.skipped;
    }
    std::pair<Index, Index> value() const { return {all_.correct, all_.skipped}; }

  private:
    Tally all_;
    std::mutex mutex_;
};

// Pairs are cut into contiguous stretches with draws in proportion to their size: threads that work on different users do
// not wait for each other's rows.
std::pair<Index, Index> epoch_lock_free(const Setting &s, Address pairs, Index size, Address table, Index items, Index each,
                                        Index stretches) {
    constexpr Index share = 8192;
    const Steps steps = tier(s.set).steps;
    const Known known = known_at(s.rowptr, s.col, s.bits, s.words);
    Factors factors = s.factors();
    // Biases with a cache line each, so that threads do not wait for those of other items.
    std::vector<float> apart;
    if (factors.bias != nullptr && s.threads > 1) {
        apart.resize(static_cast<std::size_t>(items) << 4);
        for (Index i = 0; i < items; ++i) apart[static_cast<std::size_t>(i) << 4] = factors.bias[i];
        factors.bias = apart.data();
        factors.bias_shift = 4;
    }
    const Rates rates = s.rates();
    struct Task {
        Block block;
        Index begin, count;
    };
    std::vector<Task> tasks;
    for (Index k = 0; k < stretches; ++k) {
        const Index from = size * k / stretches, width = size * (k + 1) / stretches - from, draws = width * each;
        const Block block{at<const Pair>(pairs) + from, static_cast<Word>(width), at<const Column>(table), nullptr,
                          static_cast<Word>(items), stretches == 1 ? s.key : word(s.key, static_cast<Word>(k)), s.attempts};
        for (Index begin = 0; begin < draws; begin += share) tasks.push_back({block, begin, std::min(share, draws - begin)});
    }
    InterruptibleTeam team;
    Total total;
    {
        nb::gil_scoped_release release;
        team.run_stretches(s.threads, static_cast<Index>(tasks.size()), [&](int, Index number) {
            Tally tally;
            const Task &task = tasks[static_cast<std::size_t>(number)];
            steps(static_cast<Rule>(s.rule), factors, rates, known, task.block, static_cast<Word>(task.begin),
                  static_cast<Word>(task.count), tally);
            total.add(tally);
        });
    }
    for (std::size_t i = 0; i < apart.size() >> 4; ++i) at<float>(s.bias)[i] = apart[i << 4];
    team.rethrow();
    return total.value();
}

struct Blocks {
    Index count;
    // Users by block; user_start, [count + 1], is where each block begins.
    const std::int32_t *user;
    const std::int64_t *user_start;
    // Items by block; item_start, [count + 1], is where each block begins; item_block, [items], is the block of each item.
    const std::int32_t *item;
    const std::int64_t *item_start;
    const std::int32_t *item_block;
    // By position in `item`, or null.
    const double *weight;
    // Buffer, by position in `item`.
    Column *table;
};

// Biases by block, a cache line apart: in the order of items, threads would often write to the same lines.
class BlockBiases {
  public:
    BlockBiases(float *bias, const Blocks &b) : bias_(bias), b_(b) {
        if (bias == nullptr) return;
        copies_.resize(static_cast<std::size_t>(b.item_start[b.count] + apart * b.count));
        for (Index k = 0; k < b.count; ++k)
            for (Index p = b.item_start[k]; p < b.item_start[k + 1]; ++p) of(k)[p - b.item_start[k]] = bias[b.item[p]];
    }
    float *of(Index block) {
        return bias_ == nullptr ? nullptr : copies_.data() + b_.item_start[block] + apart * block;
    }
    void put_back() {
        if (bias_ == nullptr) return;
        for (Index k = 0; k < b_.count; ++k)
            for (Index p = b_.item_start[k]; p < b_.item_start[k + 1]; ++p) bias_[b_.item[p]] = of(k)[p - b_.item_start[k]];
    }

  private:
    static constexpr Index apart = 16;
    float *bias_;
    const Blocks &b_;
    std::vector<float> copies_;
};

// Rounds from `round` to `last_round`, of the user blocks from `first` to `last`. The pairs of a cell (a user block and an item
// block) are copied from the rows, those of `at_once` rounds at a time.
std::pair<Index, Index> epoch_blocks(const Setting &s, Index count, Address user, Address user_start, Address item,
                                     Address item_start, Address item_block, Address weight, Address table, Index each,
                                     Index round, Index last_round, Index first, Index last, Index at_once) {
    const Steps steps = tier(s.set).steps;
    const Known known = known_at(s.rowptr, s.col, s.bits, s.words);
    const Factors factors = s.factors();
    const Rates rates = s.rates();
    const Blocks b{count, at<const std::int32_t>(user), at<const std::int64_t>(user_start), at<const std::int32_t>(item),
                   at<const std::int64_t>(item_start), at<const std::int32_t>(item_block), at<const double>(weight),
                   at<Column>(table)};
    std::vector<std::int32_t> column(static_cast<std::size_t>(b.item_start[count]));
    for (Index k = 0; k < count; ++k) {
        const Index from = b.item_start[k];
        for (Index p = from; p < b.item_start[k + 1]; ++p)
            column[static_cast<std::size_t>(b.item[p])] = static_cast<std::int32_t>(p - from);
        if (b.weight != nullptr) fill_table(b.weight + from, b.item_start[k + 1] - from, b.table + from);
    }
    BlockBiases biases(factors.bias, b);
    InterruptibleTeam team;
    Total total;
    {
        nb::gil_scoped_release release;
        // By user block: pairs (user, column in its item block) by round, and where each round begins.
        std::vector<std::vector<Pair>> grouped(static_cast<std::size_t>(last - first));
        std::vector<std::vector<Index>> start(grouped.size());
        for (; round < last_round && !team.interrupted(); round += at_once) {
            const Index rounds = std::min(at_once, last_round - round);
            team.run_stretches(s.threads, last - first, [&](int, Index number) {
                const Index task = first + number;
                std::vector<Pair> &pairs = grouped[static_cast<std::size_t>(number)];
                std::vector<Index> &begins = start[static_cast<std::size_t>(number)];
                begins.assign(static_cast<std::size_t>(count) + 1, 0);
                // By item block, in how many rounds after `round` it is its turn.
                std::vector<std::size_t> turn;
                for (Index k = 0; k < count; ++k) turn.push_back(static_cast<std::size_t>((k + 2 * count - task - round) % count));
                const auto each_pair = [&](auto &&body) {
                    for (Index p = b.user_start[task]; p < b.user_start[task + 1]; ++p)
                        for (Index q = known.rowptr[b.user[p]]; q < known.rowptr[b.user[p] + 1]; ++q)
                            body(b.user[p], known.col[q], turn[static_cast<std::size_t>(b.item_block[known.col[q]])]);
                };
                each_pair([&](std::int32_t, std::int32_t, std::size_t k) { ++begins[k + 1]; });
                std::partial_sum(begins.begin(), begins.end(), begins.begin());
                std::vector<Index> place(begins);
                pairs.resize(static_cast<std::size_t>(begins[static_cast<std::size_t>(rounds)]));
                each_pair([&](std::int32_t u, std::int32_t i, std::size_t k) {
                    if (static_cast<Index>(k) < rounds)
                        pairs[static_cast<std::size_t>(place[k]++)] = Pair{u, column[static_cast<std::size_t>(i)]};
                });
            });
            for (Index k = 0; k < rounds && !team.interrupted(); ++k)
                team.run_stretches(s.threads, last - first, [&](int, Index number) {
                    const Index task = first + number, other = (task + round + k) % count, from = b.item_start[other];
                    const std::vector<Index> &begins = start[static_cast<std::size_t>(number)];
                    const Index begin = begins[static_cast<std::size_t>(k)], items = b.item_start[other + 1] - from;
                    const Index size = begins[static_cast<std::size_t>(k) + 1] - begin;
                    if (size == 0 || items == 0) return;
                    const Block block{grouped[static_cast<std::size_t>(number)].data() + begin, static_cast<Word>(size),
                                      b.weight == nullptr ? nullptr : b.table + from, b.item + from,
                                      static_cast<Word>(items), word(s.key, static_cast<Word>(task * count + other)),
                                      s.attempts};
                    Tally tally;
                    Factors block_factors = factors;
                    block_factors.bias = biases.of(other);
                    steps(static_cast<Rule>(s.rule), block_factors, rates, known, block, 0, static_cast<Word>(size * each), tally);
                    total.add(tally);
                });
        }
    }
    biases.put_back();
    team.rethrow();
    return total.value();
}

void sigmoids(const std::string &set, Address x, Index count, Address out) {
    tier(set).sigmoids(at<const float>(x), count, at<float>(out));
}

}  // namespace

void add_sgd(nb::module_ &m) {
    nb::class_<Setting>(m, "Setting")
        .def(nb::init<>())
        .def_rw("set", &Setting::set)
        .def_rw("threads", &Setting::threads)
        .def_rw("rule", &Setting::rule)
        .def_rw("blocks", &Setting::blocks)
        .def_rw("attempts", &Setting::attempts)
        .def_rw("user", &Setting::user)
        .def_rw("item", &Setting::item)
        .def_rw("bias", &Setting::bias)
        .def_rw("flip_user", &Setting::flip_user)
        .def_rw("flip_item", &Setting::flip_item)
        .def_rw("step", &Setting::step)
        .def_rw("decay_user", &Setting::decay_user)
        .def_rw("decay_positive", &Setting::decay_positive)
        .def_rw("decay_negative", &Setting::decay_negative)
        .def_rw("decay_bias", &Setting::decay_bias)
        .def_rw("decay_flip", &Setting::decay_flip)
        .def_rw("flip_rate", &Setting::flip_rate)
        .def_rw("rowptr", &Setting::rowptr)
        .def_rw("col", &Setting::col)
        .def_rw("bits", &Setting::bits)
        .def_rw("words", &Setting::words)
        .def_rw("key", &Setting::key);
    m.def("epoch_lock_free", &epoch_lock_free);
    m.def("epoch_blocks", &epoch_blocks);
    m.def("instruction_sets", &instruction_sets);
    m.def("sigmoids", &sigmoids);
}
