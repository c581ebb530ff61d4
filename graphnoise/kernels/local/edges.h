// Edges between nodes whose rows were read and their neighbours, each with a value per direction (flow or residual capacity).

#pragma once

#include "local/graph.h"

namespace graphnoise::local {

// One direction of an edge; the reverse of half e is half e ^ 1.
struct Half {
    Slot to;
    double weight, value;
};

class Edges {
  public:
    void begin() { halves_ = listed_ = 0; }
    // Adds a slot: each once, in their order, before a row with it is opened.
    void add(Slot s) {
        spans_.reserve(s + 1);
        spans_[s] = {0, 0, -1, false};
    }
    bool is_open(Slot s) const { return spans_[s].open; }
    // The halves of an open node: positions from first(s) to last(s) of the list; none of others.
    Index first(Slot s) const { return spans_[s].begin; }
    Index last(Slot s) const { return spans_[s].end; }
    Index at(Index position) const { return list_[position]; }
    Half &operator[](Index e) { return half_[e]; }
    const Half &operator[](Index e) const { return half_[e]; }
    Index size() const { return halves_; }
    Slot from(Index e) const { return half_[e ^ 1].to; }

    // Adds the edges of a row whose other end is not open, with `scale` times their weight as values; the others were
    // added before. In the list, edges added by other rows come first, the last one first, then these.
    void open(Slot s, const Row &row, double scale) {
        Span &span = spans_[s];
        span.open = true;
        span.begin = listed_;
        Index more = 0;
        for (Index e = span.incoming; e >= 0; e = next_[e]) ++more;
        list_.reserve(listed_ + more + row.size);
        half_.reserve(halves_ + 2 * row.size);
        next_.reserve(halves_ + 2 * row.size);
        for (Index e = span.incoming; e >= 0; e = next_[e]) list_[listed_++] = e;
        for (Index k = 0; k < row.size; ++k) {
            const Slot t = row.slot[k];
            // The slot itself is open as well.
            if (spans_[t].open) continue;
            const double weight = row.weight == nullptr ? 1.0 : row.weight[k], value = weight * scale;
            half_[halves_] = {t, weight, value};
            half_[halves_ + 1] = {s, weight, value};
            next_[halves_] = -1;
            next_[halves_ + 1] = spans_[t].incoming;
            spans_[t].incoming = halves_ + 1;
            list_[listed_++] = halves_;
            halves_ += 2;
        }
        span.end = listed_;
    }
    Index bytes() const { return spans_.bytes() + half_.bytes() + next_.bytes() + list_.bytes(); }

  private:
    struct Span {
        // `incoming` is the last half added by the row of a neighbour, or -1.
        Index begin, end, incoming;
        bool open;
    };
    Buffer<Span> spans_;
    Buffer<Half> half_;
    // The half that was added to the same node before.
    Buffer<Index> next_;
    Buffer<Index> list_;
    Index halves_ = 0, listed_ = 0;
};

}  // namespace graphnoise::local
