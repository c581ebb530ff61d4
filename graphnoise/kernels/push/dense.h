// Both kinds of PageRank on graphs of at most `max_nodes` nodes without labels, with one record per node of the graph.
// Results equal those of linear.cpp to the last bit, in two thirds of the time; each run resets the records it touched.

#pragma once

#include "push/walks.h"

namespace graphnoise::local {

class Dense {
  public:
    static constexpr Index max_nodes = Index{1} << 18;
    static bool serves(const Settings &s, const Labels &labels, Index nodes) {
        return nodes <= max_nodes && !labels.any() && (s.method == Method::pagerank || s.method == Method::l1_pagerank);
    }
    RunStats diffuse(const Graph &graph, Index nodes, const Settings &settings, const Seeds &seeds,
                     const StopCheck &stop);

    // As the members of Workspace of the same names.
    Index arcs() const { return arcs_; }
    Index count() const { return count_; }
    Index in_order(bool values_only);
    Index result_node(Index i) const { return list_[i]; }
    double result_value(Index i) const { return records_[list_[i]].value; }
    double result_mass(Index i) const { return records_[list_[i]].mass.here; }
    void clear() {
        for (Index i = 0; i < count_; ++i) records_[touched_[i]] = {};
        count_ = 0;
        queue_.clear();
    }
    Index bytes() const { return records_.bytes() + touched_.bytes() + list_.bytes() + bits_.bytes() + queue_.bytes(); }

  private:
    struct Record {
        // A limit of 0 marks a node that was not touched.
        Mass mass{0, 0};
        double value = 0, spare = 0;
    };
    template <class PushRule>
    RunStats run(const Graph &graph, const Settings &settings, const PushRule &rule, const Seeds &seeds,
                 const StopCheck &stop);
    template <bool Weighted, class PushRule>
    void give(const Graph &graph, const PushRule &rule, Index begin, Index end, double flow);
    template <class PushRule>
    void touch(const Graph &graph, const PushRule &rule, Node node, Record &record);

    Buffer<Record> records_;
    Buffer<Node> touched_, list_;
    // One bit per node, all 0 between calls.
    Buffer<std::uint64_t> bits_;
    Queue queue_;
    Index known_ = 0, count_ = 0, arcs_ = 0;
};

}  // namespace graphnoise::local
