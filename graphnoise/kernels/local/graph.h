// The part of a graph that a run has touched, with slots numbered in the order of touch; shared by push, sweep, release
// and cut.
//
//   WorkspaceHandle<Workspace> w;           // A type of yours that derives from LocalGraph or holds one, with
//                                           // `void clear()` and `Index bytes() const`.
//   LocalGraph &local = *w;
//   local.begin(graph, labels, loops);      // loops: whether self-loops stay in the rows (walks) or not (flows)
//   Slot s = local.seed(node);              // Seeds first: their label is 1.
//   Row row = local.row(s);                 // Read at the first call, cached as slots for later ones.
//   for (k...) row.slot[k], row.weight[k]   // weight is null where all weights are 1; arcs of weight 0 are removed.
//
// row() touches all neighbours: the caller initialises its data of the slots from the old local.count() to the new one.
// A Row is valid until the next row(), which may move memory. Nothing here is proportional to the graph. A lookup of
// labels may throw; the workspace is then not reused.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

namespace graphnoise::local {

using Index = std::int64_t;
using Node = std::int32_t;
using Slot = std::int32_t;

struct Graph {
    // Shape [nodes + 1].
    const Index *rowptr;
    // Shape [arcs].
    const Node *col;
    // Shape [arcs], at least 0, or null for ones.
    const double *weight;
    // Shape [nodes], self-loops counted once.
    const double *degree;
};

// Labels of nodes, 0 or 1: an array, or a function that is called once per node of a run. Arcs between different
// labels weigh eps times their weight.
struct Labels {
    const std::uint8_t *of = nullptr;
    std::function<void(const Node *nodes, Index count, std::uint8_t *labels)> lookup;
    double eps = 1;
    bool any() const { return of != nullptr || lookup; }
};

struct Row {
    const Slot *slot;
    const double *weight;
    Index size;
    // Sum of the weights under labels.
    double degree;
};

// Memory that grows without being initialised.
template <class T>
class Buffer {
    static_assert(std::is_trivially_copyable_v<T>);

  public:
    Buffer() = default;
    Buffer(const Buffer &) = delete;
    Buffer &operator=(const Buffer &) = delete;
    ~Buffer() { std::free(data_); }
    void reserve(Index minimum) {
        if (minimum > capacity_) grow(minimum);
    }
    T &operator[](Index i) { return data_[i]; }
    const T &operator[](Index i) const { return data_[i]; }
    T *data() { return data_; }
    const T *data() const { return data_; }
    Index capacity() const { return capacity_; }
    Index bytes() const { return capacity_ * static_cast<Index>(sizeof(T)); }
    void swap(Buffer &other) { std::swap(data_, other.data_), std::swap(capacity_, other.capacity_); }

  private:
    void grow(Index minimum) {
        minimum = std::max<Index>({minimum, 2 * capacity_, 256});
        void *moved = std::realloc(static_cast<void *>(data_), static_cast<std::size_t>(minimum) * sizeof(T));
        if (moved == nullptr) throw std::bad_alloc();
        data_ = static_cast<T *>(moved);
        capacity_ = minimum;
    }
    T *data_ = nullptr;
    Index capacity_ = 0;
};

// Hash table from node to slot: open addressing, at most half full. Only the first entries are used, as many as the last
// run would have needed, so that a small run after a large one stays in the caches.
class Table {
  public:
    ~Table() { std::free(entries_); }
    Table() = default;
    Table(const Table &) = delete;
    Table &operator=(const Table &) = delete;

    void begin(Index expected) {
        Index size = min_size;
        while (size < 2 * expected) size *= 2;
        allocate(size);
        use(size);
    }
    void fetch(Node node) const { __builtin_prefetch(entries_ + home(node)); }
    Slot find(Node node) const {
        for (std::uint32_t h = home(node);; h = (h + 1) & mask_) {
            const Entry e = entries_[h];
            if (e.key == key(node)) return e.slot;
            if (e.key == 0) return -1;
        }
    }
    // The slot of a node; a new node gets the slot `next`.
    Slot place(Node node, Slot next) {
        for (std::uint32_t h = home(node);; h = (h + 1) & mask_) {
            const Entry e = entries_[h];
            if (e.key == key(node)) return e.slot;
            if (e.key == 0) {
                entries_[h] = {key(node), next};
                return next;
            }
        }
    }
    bool full(Index count) const { return 2 * count > size_; }
    // Twice the size; `node(s)` gives the node of each of the `count` slots.
    template <class Of>
    void grow(Index count, Of node) {
        clear(count, node);
        allocate(2 * size_);
        use(2 * size_);
        for (Slot s = 0; s < count; ++s) place(node(s), s);
    }
    template <class Of>
    void clear(Index count, Of node) {
        if (8 * count >= size_) {
            std::memset(static_cast<void *>(entries_), 0, static_cast<std::size_t>(size_) * sizeof(Entry));
            return;
        }
        // Entries are removed one by one; searches here do not stop at empty ones.
        for (Slot s = 0; s < count; ++s) {
            std::uint32_t h = home(node(s));
            while (entries_[h].key != key(node(s))) h = (h + 1) & mask_;
            entries_[h] = {0, 0};
        }
    }
    Index bytes() const { return capacity_ * static_cast<Index>(sizeof(Entry)); }

  private:
    struct Entry {
        // Node + 1, or 0 for an empty entry.
        std::uint32_t key;
        Slot slot;
    };
    static constexpr Index min_size = 1024;
    static std::uint32_t key(Node node) { return static_cast<std::uint32_t>(node) + 1; }
    std::uint32_t home(Node node) const { return (static_cast<std::uint32_t>(node) * 2654435769u) >> shift_; }
    void use(Index size) {
        size_ = size;
        mask_ = static_cast<std::uint32_t>(size - 1);
        shift_ = 32;
        for (; size > 1; size /= 2) --shift_;
    }
    // Called only while all entries are empty.
    void allocate(Index size) {
        if (size <= capacity_) return;
        if (size > Index{1} << 31) throw std::bad_alloc();
        void *fresh = std::calloc(static_cast<std::size_t>(size), sizeof(Entry));
        if (fresh == nullptr) throw std::bad_alloc();
        std::free(entries_);
        entries_ = static_cast<Entry *>(fresh);
        capacity_ = size;
    }
    Entry *entries_ = nullptr;
    Index capacity_ = 0, size_ = 0;
    std::uint32_t mask_ = 0;
    int shift_ = 32;
};

// First in, first out. No slot may be in it twice.
class Queue {
  public:
    // Capacity for a number of slots.
    void reserve(Index slots) {
        if (slots > size_) grow(slots);
    }
    bool empty() const { return head_ == tail_; }
    Index length() const { return tail_ - head_; }
    void push(Slot s) { ring_[tail_++ & (size_ - 1)] = s; }
    Slot pop() { return ring_[head_++ & (size_ - 1)]; }
    // Requires k < length().
    Slot ahead(Index k) const { return ring_[(head_ + k) & (size_ - 1)]; }
    void clear() { head_ = tail_ = 0; }
    Index bytes() const { return ring_.bytes(); }

  private:
    void grow(Index slots) {
        std::vector<Slot> waiting;
        while (!empty()) waiting.push_back(pop());
        size_ = std::max<Index>(size_, 256);
        while (size_ < slots) size_ *= 2;
        ring_.reserve(size_);
        clear();
        for (const Slot s : waiting) push(s);
    }
    Buffer<Slot> ring_;
    Index size_ = 0, head_ = 0, tail_ = 0;
};

class LocalGraph {
  public:
    void begin(const Graph &graph, const Labels &labels, bool loops) {
        graph_ = graph;
        labels_ = &labels;
        loops_ = loops;
        labelled_ = labels.any();
        weighted_ = labelled_ || graph.weight != nullptr;
        table_.begin(expected_);
        count_ = 0;
        used_ = 0;
        arcs_ = 0;
        read_ = 0;
    }
    // Resets after a run; called by `clear` of a workspace.
    void clear() {
        if (count_ == 0) return;
        table_.clear(count_, [&](Slot s) { return places_[s].node; });
        expected_ = count_ + count_ / 4;
        count_ = 0;
    }

    Slot seed(Node node) {
        const Slot old = count_, s = slot(node);
        if (labelled_ && s == old) {
            label_.reserve(count_);
            label_[s] = 1;
        }
        return s;
    }
    // Touches nodes other than seeds; slots of new nodes are consecutive, from count() on.
    template <class AnyNode>
    void touch(const AnyNode *nodes, Index count) {
        const Slot old = count_;
        for (Index k = 0; k < count; ++k) slot(static_cast<Node>(nodes[k]));
        if (labelled_) read_labels(old);
    }
    // The slot of a node, or -1 where it was not touched.
    Slot find(Node node) const { return table_.find(node); }
    Slot count() const { return count_; }
    Node node(Slot s) const { return places_[s].node; }
    // Whether the row of a slot was read.
    bool read(Slot s) const { return places_[s].size >= 0; }
    // Number of rows that were read.
    Slot rows() const { return read_; }
    // Number of arcs that were read, repeated reads included.
    Index arcs() const { return arcs_; }
    // Degree without labels.
    double degree(Slot s) const { return graph_.degree[places_[s].node]; }
    const Graph &graph() const { return graph_; }
    bool labelled() const { return labelled_; }
    // Only valid with labels.
    int label(Slot s) const { return label_[s]; }
    double label_eps() const { return labelled_ ? labels_->eps : 1; }

    Row row(Slot s) {
        if (places_[s].size < 0) return fresh(s);
        arcs_ += places_[s].size;
        return known(s);
    }
    // A row that was read before.
    Row known(Slot s) const {
        const Place &p = places_[s];
        return {pool_.data() + p.begin, weighted_ ? weights_.data() + p.begin : nullptr, p.size, p.degree};
    }
    // Prefetches what a later row() needs.
    void fetch(Slot s) const {
        const Place &p = places_[s];
        if (p.size < 0)
            __builtin_prefetch(graph_.col + graph_.rowptr[p.node]);
        else
            __builtin_prefetch(&pool_[p.begin]);
    }
    void fetch_far(Slot s) const {
        if (places_[s].size < 0) __builtin_prefetch(graph_.rowptr + places_[s].node);
    }
    Index bytes() const {
        return table_.bytes() + places_.bytes() + label_.bytes() + unlabelled_.bytes() + pool_.bytes() + weights_.bytes();
    }

  private:
    struct Place {
        // Where its row begins in the pool.
        Index begin;
        double degree;
        // Size of its row, or -1 before it is read.
        Index size;
        Node node;
    };

    Slot slot(Node node) {
        const Slot s = table_.place(node, count_);
        if (s == count_) {
            places_.reserve(count_ + 1);
            places_[count_++] = {0, 0, -1, node};
            __builtin_prefetch(graph_.degree + node);
            if (table_.full(count_)) table_.grow(count_, [&](Slot i) { return places_[i].node; });
        }
        return s;
    }

    __attribute__((noinline)) Row fresh(Slot s) {
        constexpr Index ahead = 8;
        const Node v = places_[s].node;
        const Index begin = graph_.rowptr[v], size = graph_.rowptr[v + 1] - begin;
        const Node *col = graph_.col + begin;
        const Slot old = count_;
        pool_.reserve(used_ + size);
        Slot *out = pool_.data() + used_;
        for (Index k = 0; k < std::min(ahead, size); ++k) table_.fetch(col[k]);
        for (Index k = 0; k < size; ++k) {
            if (k + ahead < size) table_.fetch(col[k + ahead]);
            out[k] = slot(col[k]);
        }
        arcs_ += size;
        ++read_;
        Index length = 0;
        double degree = graph_.degree[v];
        const double *weight = nullptr;
        if (weighted_) {
            if (labelled_) read_labels(old);
            weights_.reserve(used_ + size);
            double *wide = weights_.data() + used_, sum = 0;
            bool loop = false;
            for (Index k = 0; k < size; ++k) {
                const Slot t = out[k];
                double w = graph_.weight != nullptr ? graph_.weight[begin + k] : 1.0;
                if (labelled_ && label_[t] != label_[s]) w *= labels_->eps;
                if (t == s && !loops_) {
                    loop = true;
                    w = 0;
                }
                if (w == 0) continue;
                out[length] = t;
                wide[length] = w;
                ++length;
                sum += w;
            }
            if (labelled_ || loop) degree = sum;
            weight = wide;
        } else if (!loops_) {
            for (Index k = 0; k < size; ++k) {
                const Slot t = out[k];
                out[length] = t;
                length += t != s;
            }
            if (length < size) degree = static_cast<double>(length);
        } else {
            length = size;
        }
        places_[s].begin = used_;
        places_[s].size = length;
        places_[s].degree = degree;
        used_ += length;
        return {out, weight, length, degree};
    }

    // Reads the labels of the slots from `old` on.
    void read_labels(Slot old) {
        label_.reserve(count_);
        if (count_ == old) return;
        if (labels_->of != nullptr) {
            for (Slot s = old; s < count_; ++s) label_[s] = labels_->of[places_[s].node];
            return;
        }
        unlabelled_.reserve(count_ - old);
        for (Slot s = old; s < count_; ++s) unlabelled_[s - old] = places_[s].node;
        labels_->lookup(unlabelled_.data(), count_ - old, label_.data() + old);
    }

    Graph graph_{};
    const Labels *labels_ = nullptr;
    bool loops_ = true, labelled_ = false, weighted_ = false;
    Table table_;
    // By slot, as the next.
    Buffer<Place> places_;
    Buffer<std::uint8_t> label_;
    Buffer<Node> unlabelled_;
    // The rows that were read, one after the other.
    Buffer<Slot> pool_;
    Buffer<double> weights_;
    Slot count_ = 0, read_ = 0;
    Index used_ = 0, arcs_ = 0, expected_ = 0;
};

// A workspace for one run, from a pool of idle ones or new. give_back() returns it to the pool, unless it has grown too
// large; after an exception it is freed.
template <class Workspace>
class WorkspaceHandle {
  public:
    WorkspaceHandle() {
        const std::lock_guard<std::mutex> lock(mutex());
        if (!idle().empty()) {
            workspace_ = std::move(idle().back());
            idle().pop_back();
        }
        if (workspace_ == nullptr) workspace_ = std::make_unique<Workspace>();
    }
    Workspace &operator*() { return *workspace_; }
    Workspace *operator->() { return workspace_.get(); }
    void give_back() {
        workspace_->clear();
        if (workspace_->bytes() > max_bytes) return;
        const std::lock_guard<std::mutex> lock(mutex());
        idle().push_back(std::move(workspace_));
    }

  private:
    static constexpr Index max_bytes = Index{1} << 28;
    static std::mutex &mutex() {
        static std::mutex instance;
        return instance;
    }
    static std::vector<std::unique_ptr<Workspace>> &idle() {
        // Never freed, since threads may outlive it.
        static auto *pool = new std::vector<std::unique_ptr<Workspace>>;
        return *pool;
    }
    std::unique_ptr<Workspace> workspace_;
};

}  // namespace graphnoise::local
