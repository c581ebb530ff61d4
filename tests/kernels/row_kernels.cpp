// Results of the row kernels on fixed inputs, a number per line after the name of its kernel, to be compared between processors.

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <vector>

#include "attention/rows.h"
#include "beliefs/rows.h"
#include "propagate/rows.h"
#include "sgd/rows.h"

namespace {

using graphnoise::Index;

constexpr Index nodes = 40, padding = 64;

// Numbers in [0, 1), the same on every processor.
float draw() {
    static recsys::Word counter = 0;
    return static_cast<float>(recsys::word(7, counter++) >> 40) / (1 << 24);
}

std::vector<float> draws(Index count) {
    std::vector<float> out(static_cast<std::size_t>(count));
    for (auto &x : out) x = draw();
    return out;
}

template <class T>
void print(const char *name, const std::vector<T> &values) {
    for (const T value : values) std::printf("%s %.9g\n", name, static_cast<double>(value));
}

// A symmetric graph: each node beside the next ones in a ring, as many as its number has bits.
struct Arcs {
    std::vector<Index> rowptr{0};
    std::vector<std::int32_t> col;
    Arcs() {
        std::vector<std::vector<std::int32_t>> rows(nodes);
        for (Index i = 0; i < nodes; ++i)
            for (Index k = 1; k <= __builtin_popcountll(static_cast<unsigned long long>(i)); ++k) {
                rows[static_cast<std::size_t>(i)].push_back(static_cast<std::int32_t>((i + k) % nodes));
                rows[static_cast<std::size_t>((i + k) % nodes)].push_back(static_cast<std::int32_t>(i));
            }
        for (auto &row : rows) {
            std::sort(row.begin(), row.end());
            row.erase(std::unique(row.begin(), row.end()), row.end());
            col.insert(col.end(), row.begin(), row.end());
            rowptr.push_back(static_cast<Index>(col.size()));
        }
        col.resize(col.size() + padding);
    }
    Index count() const { return rowptr.back(); }
};

// The values of type T, and back: bfloat16 is the upper half of a float.
template <class T>
std::vector<T> as(const std::vector<float> &values) {
    std::vector<T> out;
    for (const float value : values) {
        if constexpr (sizeof(T) == 2) {
            std::uint32_t bits;
            std::memcpy(&bits, &value, sizeof bits);
            out.push_back(static_cast<T>(bits >> 16));
        } else {
            out.push_back(value);
        }
    }
    return out;
}

template <class T>
void propagate(graphnoise::Type type, const char *name, const Arcs &arcs) {
    for (Index width = 1; width <= 70; ++width)
        for (const bool weighted : {false, true}) {
            using Sum = std::conditional_t<sizeof(T) == 8, double, float>;
            const auto from = as<T>(draws(nodes * width)), source = as<T>(draws(nodes * width));
            const auto value = as<Sum>(draws(arcs.count() + padding));
            std::vector<T> to(from.size());
            graphnoise::Step s{};
            s.rowptr = arcs.rowptr.data();
            s.col = arcs.col.data();
            s.value = weighted ? value.data() : nullptr;
            s.from = from.data();
            s.source = source.data();
            s.to = to.data();
            s.width = width;
            s.alpha = .7;
            s.beta = .3;
            s.high = .9;
            s.low = .1;
            s.clamp = s.residual = width % 2 == 0;
            s.readable = arcs.count() + padding;
            s.prefetch = padding;
            graphnoise::Outcome outcome{};
            const auto &kernels = graphnoise::kernels_baseline();
            for (Index column = 0; column < width; column += kernels.widest(type, false)) {
                const Index columns = std::min(kernels.widest(type, false), width - column);
                const graphnoise::Task task{graphnoise::Kind::rows, 0, nodes, 0, 0, column, columns};
                kernels.rows(type, false, weighted, columns)(s, task, outcome);
            }
            print(name, to);
            if (s.residual) std::printf("%s.residual %.9g\n", name, outcome.residual);
            if (!weighted && width <= 20) {
                std::vector<Sum> products(static_cast<std::size_t>(arcs.count()));
                kernels.sddmm(type, false)({graphnoise::Kind::rows, 0, nodes, 0, 0, 0, width}, arcs.rowptr.data(), arcs.col.data(),
                                           from.data(), source.data(), width, .7, 0, products.data());
                print("sddmm", products);
            }
        }
}

void attend(const Arcs &arcs) {
    for (const Index heads : {1, 3, 8})
        for (const Index width : {1, 7, 16, 40}) {
            const auto h = draws(nodes * heads * width), source = draws(nodes * heads), target = draws(nodes * heads);
            std::vector<float> weight(static_cast<std::size_t>(arcs.count() * heads)), out(h.size()), scratch(static_cast<std::size_t>(10 * heads));
            graphnoise::attention::Arguments a{};
            a.heads = heads;
            a.width = width;
            a.rowptr = arcs.rowptr.data();
            a.col = arcs.col.data();
            a.h = h.data();
            a.source = source.data();
            a.target = target.data();
            a.slope = .2f;
            a.weight = weight.data();
            a.out = out.data();
            graphnoise::attention::kernels_baseline(heads, width).forward(a, {0, nodes, 0, -1, 0, 0}, scratch.data());
            print("attention", out);
            print("attention.weight", weight);
        }
}

void believe(const Arcs &arcs) {
    for (const Index classes : {2, 3, 7, 16}) {
        const Index square = classes * classes, entries = arcs.count() * classes;
        std::vector<Index> reverse;
        for (Index i = 0; i < nodes; ++i)
            for (Index e = arcs.rowptr[i]; e < arcs.rowptr[i + 1]; ++e) {
                const Index j = arcs.col[e];
                const auto *begin = arcs.col.data() + arcs.rowptr[j], *end = arcs.col.data() + arcs.rowptr[j + 1];
                reverse.push_back(arcs.rowptr[j] + (std::lower_bound(begin, end, i) - begin));
            }
        const std::vector<double> total(nodes, 9.), squares(nodes, 9.);
        const std::vector<Index> heaviest(nodes, -1);
        auto messages = draws(entries + padding), sums = draws(nodes * classes + padding), heavy = draws(nodes * classes + padding);
        const auto field = draws(nodes * classes + padding), prior = draws(classes + padding), baseline = draws(classes + padding);
        const auto slope = draws(classes + padding), affinity = draws(square + padding), coupling = draws(square + padding);
        const std::vector<float> weight(static_cast<std::size_t>(arcs.count() + padding), 1.f);
        std::vector<double> joint(static_cast<std::size_t>(square));
        graphnoise::beliefs::Arguments a{};
        a.nodes = nodes;
        a.classes = classes;
        a.chunks = 1;
        a.rowptr = arcs.rowptr.data();
        a.reverse = reverse.data();
        a.heaviest = heaviest.data();
        a.col = arcs.col.data();
        a.weight = weight.data();
        a.total = total.data();
        a.square = squares.data();
        a.messages = messages.data();
        a.sums = sums.data();
        a.heavy = heavy.data();
        a.field = field.data();
        a.prior = prior.data();
        a.baseline = baseline.data();
        a.slope = slope.data();
        a.affinity = affinity.data();
        a.coupling = coupling.data();
        a.vote = 1;
        a.vote_count = .5;
        a.keep = .5;
        a.joint = joint.data();
        graphnoise::beliefs::kernel_baseline()(a, 0, nodes, joint.data());
        messages.resize(static_cast<std::size_t>(entries));
        print("beliefs", messages);
        print("beliefs.joint", joint);
    }
}

void learn() {
    constexpr Index users = 30, items = 50;
    std::vector<Index> rowptr{0};
    std::vector<std::int32_t> col;
    std::vector<recsys::Pair> pairs;
    for (std::int32_t u = 0; u < users; ++u) {
        for (std::int32_t i = 0; i < items; ++i)
            if (draw() < .2f) {
                col.push_back(i);
                pairs.push_back({u, i});
            }
        rowptr.push_back(static_cast<Index>(col.size()));
    }
    for (const int blocks : {1, 2, 4})
        for (const auto rule : {recsys::Rule::bpr, recsys::Rule::bpo, recsys::Rule::nbpo, recsys::Rule::nbpo_constant}) {
            auto user = draws(users * blocks * 16), item = draws(items * blocks * 16), bias = draws(items);
            auto flip_user = draws(users * blocks * 16), flip_item = draws(items * blocks * 16);
            const recsys::Factors factors{user.data(), item.data(), bias.data(), flip_user.data(), flip_item.data(), blocks};
            const recsys::Rates rates{.05f, .01f, .01f, .01f, .01f, .01f, .1f};
            const recsys::Known known{rowptr.data(), col.data(), nullptr, 0};
            const recsys::Block block{pairs.data(), pairs.size(), nullptr, nullptr, items, 5, 3};
            recsys::Tally tally;
            recsys::steps_baseline(rule, factors, rates, known, block, 0, 1000, tally);
            for (const auto *values : {&user, &item, &bias, &flip_user, &flip_item}) print("sgd", *values);
            std::printf("sgd %lld\nsgd %lld\n", static_cast<long long>(tally.correct), static_cast<long long>(tally.skipped));
        }
}

}  // namespace

int main() {
    const Arcs arcs;
    propagate<float>(graphnoise::Type::float32, "float32", arcs);
    propagate<double>(graphnoise::Type::float64, "float64", arcs);
    propagate<std::uint16_t>(graphnoise::Type::bfloat16, "bfloat16", arcs);
    attend(arcs);
    believe(arcs);
    learn();
}
