// Driver of belief propagation: chunks of rows among threads, sums of messages into each node. See __init__.py for what it
// computes; arrays are passed as addresses that it has checked.

#include "native.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

#include "beliefs/rows.h"
#include "simd/parallel.h"

namespace {

using namespace graphnoise;
using namespace graphnoise::beliefs;

Run kernel(const std::string &set) {
#ifdef GRAPHNOISE_X86
    if (set == "v3") return kernel_v3();
    if (set == "v4") return kernel_v4();
#endif
    if (set != "baseline") throw std::invalid_argument("no instruction set " + set);
    return kernel_baseline();
}

// The first row of each chunk: about as many arcs in each, whatever the number of threads.
std::vector<Index> chunk_rows(const Arguments &s) {
    std::vector<Index> first(static_cast<std::size_t>(s.chunks) + 1);
    for (Index k = 0; k <= s.chunks; ++k) {
        const Index arcs = s.rowptr[s.nodes] / s.chunks * k;
        first[static_cast<std::size_t>(k)] = std::lower_bound(s.rowptr, s.rowptr + s.nodes, arcs) - s.rowptr;
    }
    first.back() = s.nodes;
    return first;
}

// Sums over the arcs into each node of weight times message, with the heaviest arc apart.
void sum_rows(const Arguments &s, Index begin, Index end) {
    const Index C = s.classes;
    std::vector<double> sum(static_cast<std::size_t>(C));
    for (Index i = begin; i < end; ++i) {
        std::fill(sum.begin(), sum.end(), 0.0);
        const Index top = s.weight == nullptr ? -1 : s.heaviest[i];
        for (Index e = s.rowptr[i]; e < s.rowptr[i + 1]; ++e) {
            if (e == top) continue;
            const double a = s.weight == nullptr ? 1.0 : static_cast<double>(s.weight[e]);
            for (Index c = 0; c < C; ++c) sum[static_cast<std::size_t>(c)] += a * static_cast<double>(s.messages[e * C + c]);
        }
        for (Index c = 0; c < C; ++c) s.sums[i * C + c] = static_cast<float>(sum[static_cast<std::size_t>(c)]);
        if (s.weight == nullptr) continue;
        for (Index c = 0; c < C; ++c) s.heavy[i * C + c] = top < 0 ? 0.0f : s.weight[top] * s.messages[top * C + c];
    }
}

void sum_messages(int threads, const Arguments &s) {
    nb::gil_scoped_release release;
    const std::vector<Index> first = chunk_rows(s);
    parallel(threads, s.chunks, [&](int, Index k) { sum_rows(s, first[static_cast<std::size_t>(k)], first[static_cast<std::size_t>(k) + 1]); });
}

void update_messages(const std::string &set, int threads, const Arguments &s) {
    const Run run = kernel(set);
    {
        nb::gil_scoped_release release;
        const std::vector<Index> first = chunk_rows(s);
        parallel(threads, s.chunks, [&](int, Index k) {
            run(s, first[static_cast<std::size_t>(k)], first[static_cast<std::size_t>(k) + 1], s.joint + k * s.classes * s.classes);
        });
    }
    sum_messages(threads, s);
}

}  // namespace

void add_beliefs(nb::module_ &m) {
    nb::class_<Arguments> arguments(m, "BeliefArguments");
    arguments.def(nb::init<>());
    def_field(arguments, "nodes", &Arguments::nodes);
    def_field(arguments, "classes", &Arguments::classes);
    def_field(arguments, "chunks", &Arguments::chunks);
    def_field(arguments, "rowptr", &Arguments::rowptr);
    def_field(arguments, "reverse", &Arguments::reverse);
    def_field(arguments, "heaviest", &Arguments::heaviest);
    def_field(arguments, "col", &Arguments::col);
    def_field(arguments, "weight", &Arguments::weight);
    def_field(arguments, "total", &Arguments::total);
    def_field(arguments, "square", &Arguments::square);
    def_field(arguments, "messages", &Arguments::messages);
    def_field(arguments, "sums", &Arguments::sums);
    def_field(arguments, "heavy", &Arguments::heavy);
    def_field(arguments, "field", &Arguments::field);
    def_field(arguments, "prior", &Arguments::prior);
    def_field(arguments, "baseline", &Arguments::baseline);
    def_field(arguments, "slope", &Arguments::slope);
    def_field(arguments, "affinity", &Arguments::affinity);
    def_field(arguments, "coupling", &Arguments::coupling);
    def_field(arguments, "vote", &Arguments::vote);
    def_field(arguments, "vote_count", &Arguments::vote_count);
    def_field(arguments, "keep", &Arguments::keep);
    def_field(arguments, "joint", &Arguments::joint);
    m.def("sum_messages", &sum_messages);
    m.def("update_messages", &update_messages);
}
