// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Tensors, phases, fused messages, state. Phases outermost, tensors innermost: phase j of all tensors of a lane is one
/// message.

#include <gradpress/communicate/adapt.hpp>
#include <gradpress/compressor.hpp>
#include <gradpress/core/checkpoint.hpp>
#include <gradpress/core/consensus.hpp>

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace gradpress {

/// Settings that must be equal on all ranks.
struct reducer_options {
  std::uint64_t seed = 0;  ///< of every random number
};

/// What happened so far on this rank. Counts grow from the reducer's creation or the last `reset_statistics`.
struct statistics {
  std::uint64_t steps = 0;
  std::uint64_t bytes_sent = 0;     ///< this rank's contribution to its collectives; ranks of a tree differ
  std::uint64_t dense_bytes = 0;    ///< what the same gradients are as floats: n x 4
  std::uint64_t messages = 0;       ///< collectives called for gradients
  std::uint64_t control_bytes = 0;  ///< agreement before and vote after each step
  double encode_seconds = 0, exchange_seconds = 0, decode_seconds = 0;

  /// Dense bytes over bytes sent; 0 before the first step.
  [[nodiscard]] double ratio() const noexcept {
    return bytes_sent == 0 ? 0 : static_cast<double>(dense_bytes) / static_cast<double>(bytes_sent);
  }
};

/// Averages gradients over the ranks of a communicator, each tensor by its own method.
///
/// - Ranks     every rank adds the same tensors with the same methods, in any order, and calls `average` equally often
///             with the same tensors staged. Two small collectives a step (80 and 16 bytes a rank) agree on this before
///             the first byte and on success before anything changes; a difference is the same exception on all ranks.
/// - Errors    after any exception gradients, memories, factors and the step number are as before the call.
/// - Memory    4 bytes an element of state where there is error feedback and as much again as workspace; messages; no
///             allocation after the first step.
/// - Threads   one reducer a thread; several reducers may live in one process.
template <class Exec>
class reducer {
  static_assert(on_host<Exec>, "reducer: runs on host execution spaces; see docs/device.md for the device kernels.");

  struct lane {
    std::vector<std::unique_ptr<letter<Exec>>> letters;  // one a phase: messages live until the commit
    message_kind kind;
    virtual ~lane() = default;
    virtual void run(step<Exec> const&, transport&, letter<Exec>&) const = 0;
    letter<Exec>& at(int phase) {
      while (letters.size() <= static_cast<std::size_t>(phase)) letters.push_back(std::make_unique<letter<Exec>>(kind));
      return *letters[static_cast<std::size_t>(phase)];
    }
  };
  template <class X>
  struct lane_of final : lane {
    X exchange;
    explicit lane_of(X const& x, message_kind k) : exchange(x) { this->kind = k; }
    void run(step<Exec> const& ctx, transport& t, letter<Exec>& l) const override { exchange.run(ctx, t, l); }
  };
  struct entry {
    std::string name, method;
    shape dims;
    std::uint64_t key = 0;
    std::unique_ptr<coder<Exec>> live;
    lane *agreement = nullptr, *payload = nullptr;
    int steps = 1;  // phases a round
    float* gradient = nullptr;
    bool staged = false, committed = false;
    std::size_t section = 0;  // in the current phase's letter; at the commit, in the last one
  };

  Exec exec_;
  std::unique_ptr<transport> comm_;
  reducer_options options_;
  std::uint64_t number_ = 0;
  std::vector<std::unique_ptr<entry>> tensors_;         // in the order of registration, which may differ between ranks
  std::vector<entry*> by_name_;                         // the order of every message
  std::map<std::string, std::unique_ptr<lane>> lanes_;  // by text: the same order on all ranks
  std::unique_ptr<arena<Exec>> arena_ = std::make_unique<arena<Exec>>();
  consensus consensus_;
  failure failure_;
  statistics statistics_;
  bool can_roll_back_ = false;

 public:
  /// Names a tensor of one reducer.
  struct tensor {
    std::size_t index = 0;
  };

  /// An lvalue communicator is referred to and must outlive the reducer; an rvalue is moved in.
  template <class C>
  requires(explain_communicator<std::remove_cvref_t<C>>()) reducer(Exec exec, C&& comm, reducer_options options = {})
      : exec_(exec), comm_(std::make_unique<transport_of<C>>(std::forward<C>(comm))), options_(options) {}

  [[nodiscard]] int rank() const { return comm_->rank(); }
  [[nodiscard]] int size() const { return comm_->size(); }

  /// A tensor that travels dense, fused with all others that do.
  tensor add(std::string name, std::size_t rows, std::size_t cols = 1) {
    return add(std::move(name), rows, cols, compress_with());
  }
  /// A tensor and its method. The name keys its state and its random numbers; names are unique.
  template <class Pr, class S, class Q, class F, class X>
  tensor add(std::string name, std::size_t rows, std::size_t cols, compressor<Pr, S, Q, F, X> const& method) {
    check_new(name, rows, cols, method);
    auto t = std::make_unique<entry>();
    t->name = std::move(name);
    t->dims = {rows, cols};
    t->method = method.text();
    t->key = digest{}.add(t->name).value();
    t->live = std::make_unique<tensor_coder<Exec, compressor<Pr, S, Q, F, X>>>(method, context(*t, 0), t->dims);
    arena_->release();
    if constexpr (agreeing<Q>) {
      t->steps = 2;
      t->agreement = lane_for(all_reduce{}, agreement_kind);
    }
    t->payload = lane_for(method.exchange, method.kind);
    auto* const raw = t.get();
    tensors_.push_back(std::move(t));
    by_name_.insert(
        std::upper_bound(by_name_.begin(), by_name_.end(), raw, [](entry* a, entry* b) { return a->name < b->name; }),
        raw);
    can_roll_back_ = false;
    return {tensors_.size() - 1};
  }

  /// Hands in a gradient of rows x cols floats, row-major; it must stay valid until `average` returns.
  void stage(tensor t, float* gradient) {
    stage(t, gradient, t.index < tensors_.size() ? tensors_[t.index]->dims.size() : 0);
  }
  /// The same, with its size checked; a mistake here is reported by `average` on all ranks.
  void stage(tensor t, std::span<float> gradient) { stage(t, gradient.data(), gradient.size()); }
  template <class... P>
  void stage(tensor t, Kokkos::View<P...> const& gradient) {
    static_assert(std::is_same_v<typename Kokkos::View<P...>::value_type, float>,
                  "reducer::stage: the view must hold float, and not const.");
    if (!gradient.span_is_contiguous()) return fail_stage(t, "the view is not contiguous; copy it into one that is");
    stage(t, gradient.data(), gradient.size());
  }

  /// Replaces every staged gradient by its mean over the ranks, in place.
  ///
  /// Throws the same exception on all ranks: `configuration_error` (ranks differ, wrong sizes), `non_finite_error`,
  /// `payload_error`; `communicator_error` where the transport failed. Nothing has changed then.
  void average() {
    try {
      agree();
      int const phases = most_phases();
      for (int phase = 0; phase < phases; ++phase) run_phase(phase);
      vote();
    } catch (communicator_error const& e) {
      comm_->abandon(e.what());
      unstage();
      throw;
    } catch (...) {
      unstage();
      throw;
    }
    commit();
  }
  void average(tensor t, float* gradient) {
    stage(t, gradient);
    average();
  }
  void average(tensor t, std::span<float> gradient) {
    stage(t, gradient);
    average();
  }

  /// Takes the last step's memories, factors and step number back, as if it had been skipped; gradients stay as they
  /// are. All ranks must do so. Once a step; throws `state_error` if there is nothing to take back.
  void rollback() {
    if (!can_roll_back_)
      throw state_error("gradpress: rank " + std::to_string(rank()) +
                        ": there is no step to roll back; call rollback at most once, right after average");
    for (auto* t : by_name_)
      if (t->committed) t->live->undo();
    --number_;
    can_roll_back_ = false;
  }

  /// Writes this rank's memories and factors, keyed by tensor name. A file a rank.
  void save(std::ostream& to) { checkpoint::write(to, header(), fields()); }
  /// Reads what `save` wrote on this rank number of a world of this size. All or nothing; throws `state_error`.
  void load(std::istream& from) {
    auto const read = checkpoint::read(from, header(), fields());
    number_ = read.step;
    can_roll_back_ = false;
  }

  [[nodiscard]] statistics const& stats() const noexcept { return statistics_; }
  void reset_statistics() noexcept { statistics_ = {}; }
  [[nodiscard]] std::uint64_t step_number() const noexcept { return number_; }
  /// Fused messages a phase: how many groups of tensors cannot travel together.
  [[nodiscard]] std::size_t lanes() const noexcept { return lanes_.size(); }
  [[nodiscard]] std::string const& method(tensor t) const { return tensors_.at(t.index)->method; }
  /// Calls v(name, buffer) for each piece of state of a tensor, as a checkpoint would see it.
  void visit(tensor t, typename coder<Exec>::visitor const& v) { tensors_.at(t.index)->live->visit(v); }

 private:
  using clock = std::chrono::steady_clock;
  static double since(clock::time_point start) { return std::chrono::duration<double>(clock::now() - start).count(); }

  step<Exec> context(entry const& t, int phase) const {
    return {exec_, options_.seed, number_, t.key, comm_->rank(), comm_->size(), phase, 0, arena_.get()};
  }
  step<Exec> context(int phase) const {
    return {exec_, options_.seed, number_, 0, comm_->rank(), comm_->size(), phase, 0, arena_.get()};
  }

  template <class X>
  lane* lane_for(X const& x, message_kind kind) {
    auto& slot = lanes_[describe(x) + " / " + describe(kind)];
    if (!slot) slot = std::make_unique<lane_of<X>>(x, kind);
    return slot.get();
  }

  template <class Method>
  void check_new(std::string const& name, std::size_t rows, std::size_t cols, Method const& m) const {
    auto const here = "gradpress: rank " + std::to_string(comm_->rank()) + ": tensor '" + name + "' ";
    for (auto const& t : tensors_)
      if (t->name == name) throw configuration_error(here + "was added before; names key the state and must be unique");
    if (cols != 0 && rows > 0xffffffffu / cols) throw configuration_error(here + "has 2^32 elements or more; split it");
    try {
      check_knobs(m.projector), check_knobs(m.selector), check_knobs(m.quantizer), check_knobs(m.feedback),
          check_knobs(m.exchange);
    } catch (configuration_error const& e) {
      throw configuration_error(here + e.what());
    }
    if constexpr (requires { m.quantizer.largest_world(); })
      if (m.kind.combines == combination::sum && comm_->size() > m.quantizer.largest_world())
        throw configuration_error(here + "sums codes that wrap beyond " + std::to_string(m.quantizer.largest_world()) +
                                  " ranks; use a wider counter type");
  }
  template <class P>
  static void check_knobs(P const& p) {
    if constexpr (requires { p.check(); }) p.check();
  }

  void stage(tensor t, float* gradient, std::size_t n) {
    if (t.index >= tensors_.size())
      return note(configuration_error("a tensor was staged that this reducer does not know"), nullptr);
    auto& e = *tensors_[t.index];
    if (e.staged) return fail_stage(t, "it was staged twice in one step");
    e.staged = true;
    e.gradient = gradient;
    if (n != e.dims.size())
      return fail_stage(t, "the gradient has " + std::to_string(n) + " elements where " +
                               std::to_string(e.dims.size()) + " were registered");
    if (gradient == nullptr && n > 0) fail_stage(t, "the gradient is a null pointer");
  }
  void fail_stage(tensor t, std::string const& why) {
    if (t.index < tensors_.size()) tensors_[t.index]->staged = true;
    note(configuration_error(why), t.index < tensors_.size() ? tensors_[t.index].get() : nullptr);
  }

  // ---- the step ------------------------------------------------------------------------------------------------

  /// Before the first byte: same wire version, world, seed, step, tensors, shapes, methods, and the same staged set.
  void agree() {
    consensus_.clear();
    for (auto const* t : by_name_) consensus_.add(t->name, t->dims, t->method, t->staged);
    guarded(0, "agreement", [&] { statistics_.control_bytes += consensus_.agree(*comm_, options_.seed, number_); });
  }

  int most_phases() const {
    int most = 0;
    for (auto const* t : by_name_)
      if (t->staged) most = std::max(most, t->live->phases());
    return most;
  }
  static bool in_phase(entry const& t, int phase) { return t.staged && phase < t.live->phases(); }
  static lane& lane_in(entry const& t, int phase) { return phase % t.steps == t.steps - 1 ? *t.payload : *t.agreement; }

  void run_phase(int phase) {
    auto const start = clock::now();
    open_letters(phase);
    for (auto* t : by_name_)
      if (in_phase(*t, phase)) encode(*t, phase);
    statistics_.encode_seconds += since(start);

    auto const middle = clock::now();
    for (auto& named : lanes_) {
      auto& l = *named.second;
      auto& letter = l.at(phase);
      if (letter.sections.empty()) continue;
      guarded(phase, named.first.c_str(), [&] { l.run(context(phase), *comm_, letter); });
      arena_->release();
      statistics_.bytes_sent += letter.sent;
      statistics_.messages += letter.messages;
      if (!letter.complaint.empty()) note(payload_error(letter.complaint), nullptr);
    }
    statistics_.exchange_seconds += since(middle);

    auto const end = clock::now();
    for (auto* t : by_name_)
      if (in_phase(*t, phase)) receive(*t, phase);
    statistics_.decode_seconds += since(end);
  }

  void open_letters(int phase) {
    for (auto& [text, l] : lanes_) {
      std::size_t capacity = 0, sections = 0;
      for (auto const* t : by_name_)
        if (in_phase(*t, phase) && &lane_in(*t, phase) == l.get())
          capacity += t->live->capacity(phase, comm_->size()), ++sections;
      l->at(phase).open(capacity, sections);
    }
  }

  void encode(entry& t, int phase) {
    auto& letter = lane_in(t, phase).at(phase);
    auto const ctx = context(t, phase);
    auto const room = letter.room(t.live->capacity(phase, comm_->size()));
    std::size_t size = 0;
    if (!failure_) attempt(t, [&] { size = t.live->encode(ctx, in<Exec>(t.gradient, t.dims.size()), room); });
    if (failure_) size = t.live->silence(ctx, room);
    arena_->release();
    t.section = letter.sections.size();
    letter.add(t.live.get(), t.key, size);
  }

  void receive(entry& t, int phase) {
    if (failure_) return;
    auto const ctx = context(t, phase);
    auto const arrived = arrival_of(t, phase);
    attempt(t, [&] {
      t.live->check(ctx, arrived);
      arena_->release();
      if (phase + 1 < t.live->phases()) t.live->accept(ctx, arrived);
    });
    arena_->release();
  }
  arrival<Exec> arrival_of(entry const& t, int phase) const {
    auto const& letter = lane_in(t, phase).at(phase);
    return letter.arrival_of(letter.sections[t.section]);
  }

  /// After the last message: either every rank commits or none does.
  void vote() {
    guarded(most_phases(), "vote", [&] { statistics_.control_bytes += consensus_.vote(*comm_, failure_, number_); });
  }

  void commit() {
    auto const start = clock::now();
    for (auto* t : by_name_) {
      t->committed = t->staged;
      if (!t->staged) continue;
      auto const last = t->live->phases() - 1;
      t->live->commit(context(*t, last), view<Exec>(t->gradient, t->dims.size()), arrival_of(*t, last));
      arena_->release();
      statistics_.dense_bytes += 4 * t->dims.size();
      t->staged = false;
    }
    exec_.fence();
    ++number_;
    ++statistics_.steps;
    can_roll_back_ = true;
    statistics_.decode_seconds += since(start);
  }

  // ---- errors --------------------------------------------------------------------------------------------------

  /// What a policy throws becomes this rank's vote; it must not leave before the other ranks know.
  template <class F>
  void attempt(entry& t, F const& f) {
    try {
      f();
    } catch (std::exception const& e) {
      note(e, &t);
    }
    arena_->release();
  }
  void note(std::exception const& e, entry const* t) { failure_.note(e, t == nullptr ? std::string{} : t->name); }

  template <class F>
  void guarded(int phase, char const* what, F const& f) {
    try {
      f();
    } catch (error const& e) {
      if (dynamic_cast<communicator_error const*>(&e) == nullptr) throw;
      throw communicator_error(where(phase, what) + e.what() + remedy);
    } catch (std::exception const& e) {
      throw communicator_error(where(phase, what) + e.what() + remedy);
    }
  }
  static constexpr char const* remedy =
      "; nothing was changed: mend the transport and repeat the step, or restart from a checkpoint";
  std::string where(int phase, char const* what) const {
    return "gradpress: rank " + std::to_string(comm_->rank()) + ": the communicator failed in step " +
           std::to_string(number_) + ", phase " + std::to_string(phase) + " (" + what + "): ";
  }

  void unstage() noexcept {
    for (auto* t : by_name_) t->staged = false;
    failure_ = {};
    can_roll_back_ = false;
  }

  // ---- state ---------------------------------------------------------------------------------------------------

  checkpoint::header header() const {
    return {static_cast<std::uint32_t>(comm_->rank()), static_cast<std::uint32_t>(comm_->size()), number_,
            options_.seed};
  }
  std::vector<checkpoint::field> fields() const {
    std::vector<checkpoint::field> all;
    for (auto* t : by_name_)
      t->live->visit([&](char const* name, buffer<Exec> b) {
        all.push_back({t->name, t->method, name, {b.data(), b.extent(0)}});
      });
    return all;
  }
};

template <class Exec, class C>
reducer(Exec, C&&) -> reducer<Exec>;
template <class Exec, class C>
reducer(Exec, C&&, reducer_options) -> reducer<Exec>;

}  // namespace gradpress
