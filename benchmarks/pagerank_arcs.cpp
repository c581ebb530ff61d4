// Approximate PageRank on a random power-law graph of arxiv's size, without Python, so that callgrind can count its instructions;
// docs/speed.md (local clustering) has the commands.

#include <cmath>
#include <cstdio>
#include <numeric>
#include <random>
#include <vector>

#include "push/dense.h"

using namespace graphnoise::local;

int main() {
    constexpr Index nodes = 169'343, edges = 2'332'486 / 2, seeds = 50;
    std::mt19937_64 random(0);
    std::uniform_real_distribution<double> uniform;
    std::vector<Node> name(nodes), from(2 * edges), col(2 * edges);
    std::iota(name.begin(), name.end(), 0);
    std::shuffle(name.begin(), name.end(), random);
    // Exponent 2.5: the i-th node of n has a share proportional to i^(-2/3), whose inverse distribution is n u^3.
    for (Index e = 0; e < 2 * edges; ++e) from[e] = name[static_cast<Index>(nodes * std::pow(uniform(random), 3))];
    std::vector<Index> rowptr(nodes + 1), at(nodes);
    for (Node node : from) ++rowptr[node + 1];
    std::partial_sum(rowptr.begin(), rowptr.end(), rowptr.begin());
    std::copy(rowptr.begin(), rowptr.end() - 1, at.begin());
    for (Index e = 0; e < edges; ++e) {
        col[at[from[2 * e]]++] = from[2 * e + 1];
        col[at[from[2 * e + 1]]++] = from[2 * e];
    }
    std::vector<double> degree(nodes);
    for (Index i = 0; i < nodes; ++i) degree[i] = static_cast<double>(rowptr[i + 1] - rowptr[i]);
    const Graph graph{rowptr.data(), col.data(), nullptr, degree.data()};
    const Settings settings{Method::pagerank, 0.15, 1e-5, 0, 0, 0, false, Index{1} << 40};
    Dense dense;
    Index arcs = 0, pushes = 0, touched = 0;
    for (Index k = 0; k < seeds; ++k) {
        Index node;
        do node = static_cast<Index>(nodes * uniform(random)); while (degree[node] == 0);
        const double mass = 1;
        pushes += dense.diffuse(graph, nodes, settings, {&node, &mass, 1}, [] { return false; }).pushes;
        arcs += dense.arcs();
        touched += dense.count();
        dense.in_order(false);
        dense.clear();
    }
    std::printf("%lld arcs, %lld pushes, %lld nodes touched\n", static_cast<long long>(arcs),
                static_cast<long long>(pushes), static_cast<long long>(touched));
}
