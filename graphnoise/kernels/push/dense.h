// Both kinds of PageRank on graphs of at most `most` nodes without labels: a record a node, found by its number. What
// push_linear.cpp finds, to the last bit, in two thirds of its time; the records are had once, and a run resets its own.

#pragma once

#include "push/walks.h"

namespace graphnoise::local {

class Dense {
  public:
    static constexpr Index most = Index{1} << 18;
    static bool serves(const Settings &s, const Labels &labels, Index nodes) {
        return nodes <= most && !labels.any() && (s.method == Method::pagerank || s.method == Method::l1_pagerank);
    }
    Outcome diffuse(const Graph &graph, Index nodes, const Settings &settings, const Seeds &seeds, const Halt &halt);

    // As the members of Workspace.
    Index arcs() const { return arcs_; }
    Index count() const { return count_; }
    Index in_order(bool values_only);
    Index found_node(Index i) const { return list_[i]; }
    double found_value(Index i) const { return records_[list_[i]].value; }
    double found_mass(Index i) const { return records_[list_[i]].mass.here; }
    void clear() {
        for (Index i = 0; i < count_; ++i) records_[touched_[i]] = {};
        count_ = 0;
        queue_.clear();
    }
    Index bytes() const { return records_.bytes() + touched_.bytes() + list_.bytes() + bits_.bytes() + queue_.bytes(); }

  private:
    struct Record {
        Mass mass{0, 0};  // a limit of 0: not touched
        double value = 0, spare = 0;
    };
    template <class Rule>
    Outcome run(const Graph &graph, const Settings &settings, const Rule &rule, const Seeds &seeds, const Halt &halt);
    template <bool Weighted, class Rule>
    void give(const Graph &graph, const Rule &rule, Index begin, Index end, double given);
    template <class Rule>
    void touch(const Graph &graph, const Rule &rule, Node node, Record &record);

    Buffer<Record> records_;
    Buffer<Node> touched_, list_;
    Buffer<std::uint64_t> bits_;  // a bit a node, all 0 between calls
    Queue queue_;
    Index known_ = 0, count_ = 0, arcs_ = 0;
};

}  // namespace graphnoise::local
