// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// The contract of a training loop: the driver says where and at which sample the next gradient is wanted, the caller
/// tells it, and the same loop runs under every optimizer.

#include <gradpress/concepts/optimizer.hpp>
#include <gradpress/concepts/schedule.hpp>
#include <gradpress/core/checkpoint.hpp>
#include <gradpress/core/checksum.hpp>
#include <gradpress/core/knobs.hpp>
#include <gradpress/optimizer/driver/memory.hpp>
#include <gradpress/reducer.hpp>

#include <array>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace gradpress {

/// What the driver wants next: a gradient at the parameters as they are now.
struct gradient_request {
  std::uint64_t step = 0;    ///< of the optimizer, from 0
  std::uint64_t sample = 0;  ///< which mini-batch of this rank: the same number again means the same samples
  int gradient = 0, of = 1;  ///< number `gradient` of `of` in this step
};

/// Trains the parameters of one rank by an optimizer over a reducer. Made by `train_with`.
///
///     auto driver = gp::train_with(reducer, gp::def{.learning_rate = 0.1}, compressor);
///     auto w = driver.add("fc1.weight", {256, 64}, std::span(weights));
///     while (...) {
///       auto const ask = driver.next();                  // weights now hold the point
///       ... gradient of mini-batch ask.sample at weights ...
///       driver.stage(w, std::span(gradient));            // every parameter
///       driver.take();                                   // true: the step is done
///     }
///     driver.model();                                    // weights now hold the model; next() goes on
///
/// - Ranks       all call `next`, `take`, `model`, `undo` alike; parameters start equal, which the first step compares.
///               `next` and `model` may communicate.
/// - Parameters  the user's memory, which the driver writes from `add` on; nobody else does. What they hold between
///               `take` and `next` is the next point, and after `model` the model.
/// - Gradients   the driver may overwrite their memory in `take`.
/// - Errors      of a step are those of `reducer::average`, the same on all ranks: parameters, momenta, memories, step and
///               sample numbers are then as before the step's first `next`, which may be called again; `skip` first
///               where the sample itself is to blame. Calls out of order throw `configuration_error` and change nothing.
/// - Cost        the optimizer's passes and memory, and the reducer's.
template <class Exec, class Method, class... C>
class driver {
  static_assert(explain_optimizer<Method>());
  static_assert(sizeof...(C) == detail::compressors_of<Method>(),
                "train_with: give the optimizer as many compressors as it uses: one, or two for cser.");
  using worker = typename Method::template worker<Exec>;
  using handle = typename reducer<Exec>::tensor;

  struct member {
    std::string name;
    std::size_t n;
    view<Exec> parameters;
    std::array<std::optional<handle>, 3> ways;  // by channel
    std::unique_ptr<worker> work;
    float* gradient = nullptr;
    bool staged = false;
    std::string complaint;
    float* exchanged = nullptr;
  };
  struct followed {
    std::string knob;
    std::function<double(std::uint64_t)> value;
  };
  using texts = std::map<std::string, std::string>;
  static constexpr bool averages = detail::averages_of<Method>();

  reducer<Exec>* reducer_;
  Method method_, as_made_;
  std::tuple<C...> compressors_;
  std::vector<std::unique_ptr<member>> members_;
  std::vector<followed> schedules_;
  std::uint64_t number_ = 0, sample_ = 0, last_sample_ = 0, start_ = 0;
  int gradient_ = 0, of_ = 1;
  bool asked_ = false, at_point_ = true, prepared_ = false, can_undo_ = false, knows_start_ = false;

 public:
  /// Names a parameter of one driver.
  struct parameter {
    std::size_t index = 0;
  };

  driver(reducer<Exec>& over, Method const& method, C const&... compressors)
      : reducer_(&over), method_(method), as_made_(method), compressors_(compressors...) {
    check(method_);
    declare();
  }

  /// A parameter, compressed as the driver was told; or by methods of its own, such as `uncompressed`, which stands for
  /// both where there are two. Equal on all ranks; an empty gradient of it is legal, a missing one is not.
  parameter add(std::string name, shape dims, std::span<float> values) {
    return std::apply([&](C const&... c) { return add(std::move(name), dims, values, c...); }, compressors_);
  }
  template <class... Own>
  requires(sizeof...(Own) > 0) parameter add(std::string name, shape dims, std::span<float> values, Own const&... own) {
    static_assert((detail::explain_memory<Method, Own>() && ...));
    static_assert(sizeof...(Own) == sizeof...(C) || ((detail::is_lossless<Own> && ...) && sizeof...(Own) == 1),
                  "driver::add: give as many compressors as the optimizer uses, or gradpress::uncompressed.");
    if (in_step()) throw misuse("a parameter was added inside a step; add them before next, or after take");
    if (values.size() != dims.size())
      throw misuse("parameter '" + name + "' has " + std::to_string(values.size()) + " elements where its shape has " +
                   std::to_string(dims.size()));
    (check_method(own), ...);
    bool const lossless = (loses_nothing(own) && ...);
    auto m = std::make_unique<member>();
    m->name = name;
    m->n = dims.size();
    m->parameters = view<Exec>(values.data(), values.size());
    auto at = m->ways.begin();
    static constexpr char const* suffix[] = {"", "/second", "/mean"};
    std::size_t channels = 0;
    ((*at++ = add_tensor(name + suffix[channels++], dims, own)), ...);
    if constexpr (averages)
      if (!lossless) m->ways[2] = reducer_->add(name + suffix[2], dims.rows, dims.cols);
    m->work = std::make_unique<worker>(method_, reducer_->space(), m->parameters, lossless);
    fence(reducer_->space());
    members_.push_back(std::move(m));
    can_undo_ = knows_start_ = false;
    return {members_.size() - 1};
  }
  template <class... V, class... Own>
  parameter add(std::string name, shape dims, Kokkos::View<V...> const& values, Own const&... own) {
    static_assert(std::is_same_v<typename Kokkos::View<V...>::value_type, float>,
                  "driver::add: the view must hold float, and not const.");
    if (!values.span_is_contiguous()) throw misuse("parameter '" + name + "' is a view that is not contiguous");
    return add(std::move(name), dims, std::span<float>(values.data(), values.size()), own...);
  }

  /// Parameters become the point where a gradient is wanted.
  gradient_request next() {
    if (asked_) throw misuse("next was called twice; stage the gradients that it asked for and call take");
    if (members_.empty()) throw misuse("next was called before any parameter was added");
    if (gradient_ == 0) begin();
    place();
    asked_ = true;
    return {number_, sample_ + static_cast<std::uint64_t>(samples() == 1 ? 0 : gradient_), gradient_, of_};
  }

  /// Hands in the gradient of a parameter at the point; its memory must stay valid until the step is done.
  void stage(parameter p, std::span<float> gradient) {
    if (p.index >= members_.size()) throw misuse("a gradient was staged of a parameter that this driver does not know");
    auto& m = *members_[p.index];
    if (!asked_) throw misuse("'" + m.name + "' was staged before next; ask first, then compute the gradient");
    if (m.staged)
      m.complaint = "it was staged twice in one step";
    else if (gradient.size() != m.n)
      m.complaint = "the gradient has " + std::to_string(gradient.size()) + " elements where " + std::to_string(m.n) +
                    " were registered";
    else if (gradient.data() == nullptr && m.n > 0)
      m.complaint = "the gradient is a null pointer";
    m.staged = true;
    m.gradient = gradient.data();
  }
  template <class... V>
  void stage(parameter p, Kokkos::View<V...> const& gradient) {
    static_assert(std::is_same_v<typename Kokkos::View<V...>::value_type, float>,
                  "driver::stage: the view must hold float, and not const.");
    stage(p, gradient.span_is_contiguous() ? std::span<float>(gradient.data(), gradient.size()) : std::span<float>());
  }

  /// Takes the staged gradients. True: that was the last of this step, the exchange has taken place and the model has
  /// moved. Mistakes of staging are reported by the call that ends the step, on all ranks.
  bool take() {
    if (!asked_) throw misuse("take was called without next; ask, stage, then take");
    asked_ = false;
    for (auto& m : members_) {
      if (!m->staged) m->complaint = "its gradient was not staged; stage every parameter in each step";
      m->exchanged = nullptr;
      if (m->complaint.empty()) m->exchanged = m->work->take(method_, turn_of(*m), view<Exec>(m->gradient, m->n));
      m->staged = false;
    }
    if (++gradient_ < of_) {
      at_point_ = false;
      return false;
    }
    --gradient_;
    try {
      exchange(way());
    } catch (...) {
      abandon_step();
      throw;
    }
    for (auto& m : members_) m->work->commit(method_, turn_of(*m), in<Exec>(m->exchanged, m->n));
    fence(reducer_->space());
    last_sample_ = sample_;
    sample_ += static_cast<std::uint64_t>(samples());
    ++number_;
    gradient_ = 0;
    prepared_ = false;
    can_undo_ = at_point_ = true;
    return true;
  }

  /// Parameters become the model to evaluate or to return; `next` goes on with training as if it had never happened.
  /// All ranks must call it: the model may be a mean over them.
  void model() {
    if (in_step()) throw misuse("model was called inside a step; take its gradients first");
    [[maybe_unused]] bool asks = false;
    if constexpr (requires { requires Method::returns_mean; }) {
      can_undo_ = false;
      for (auto& m : members_) {
        m->exchanged = m->work->ask_model(method_, turn_of(*m));
        asks |= m->exchanged != nullptr;
      }
      if (asks) {
        exchange(channel::mean, false);
        reducer_->rollback();  // a mean has no memory: only the step number goes back
      }
    } else {
      for (auto& m : members_) m->exchanged = nullptr;
    }
    if constexpr (requires(worker & w, turn<Exec> const& t) { w.model(method_, t, nullptr); })
      for (auto& m : members_) m->work->model(method_, turn_of(*m), m->exchanged);
    fence(reducer_->space());
    at_point_ = false;
  }

  /// Takes the last step back, bit for bit, memories, sample and step number included. All ranks must do so. Once a step,
  /// right after `take`; throws `state_error` if there is nothing to take back.
  void undo() {
    if (!can_undo_ || in_step())
      throw state_error(here() +
                        "there is no step to undo; call undo at most once, right after the take that ended it");
    reducer_->rollback();
    for (auto& m : members_) m->work->undo();
    --number_;
    sample_ = last_sample_;
    can_undo_ = at_point_ = false;
    prepared_ = true;
    place();
  }
  /// Leaves out the samples of the step to come. All ranks must do so.
  void skip() {
    if (in_step()) throw misuse("skip was called inside a step; its take must fail or end first");
    sample_ += static_cast<std::uint64_t>(samples());
    can_undo_ = false;
  }

  /// Changes a knob of the optimizer, from the next step on, on all ranks alike; ends a schedule that it followed. Throws
  /// `configuration_error` that says what is legal, and has then changed nothing.
  void set(std::string_view knob, double value) { set(knob, number_text(value)); }
  void set(std::string_view knob, std::string_view value) {
    auto const name = change(knob, value);
    std::erase_if(schedules_, [&](auto const& f) { return f.knob == name; });
  }
  /// Lets a knob follow a schedule, a callable from the step number to its value, asked by the first `next` of every
  /// step.
  template <class S>
  requires(explain_schedule<S>()) void follow(std::string_view knob, S schedule) {
    if constexpr (requires { schedule.check(); }) schedule.check();
    auto name = change(knob, number_text(static_cast<double>(schedule(number_))));
    std::erase_if(schedules_, [&](auto const& f) { return f.knob == name; });
    schedules_.push_back({std::move(name), std::move(schedule)});
  }

  /// Writes this rank's parameters, momenta, memories and numbers, the reducer's included. A file a rank.
  void save(std::ostream& to);
  /// Reads what `save` wrote on this rank number of a world of this size, by an optimizer that was made with the same
  /// knobs and has the same parameters; knobs as they were set then, and parameters, included. All or nothing; throws
  /// `state_error`.
  void load(std::istream& from);

  /// What the reducer knows a parameter as, for `reducer.set`, `follow` and `watch` of its compressor.
  [[nodiscard]] handle tensor(parameter p, channel by = channel::first) const {
    auto const& h = members_.at(p.index)->ways[static_cast<std::size_t>(by)];
    if (!h) throw misuse("'" + members_[p.index]->name + "' does not travel that way");
    return *h;
  }
  /// Steps that have been taken.
  [[nodiscard]] std::uint64_t step() const noexcept { return number_; }
  /// With its knobs as they are now.
  [[nodiscard]] Method const& method() const noexcept { return method_; }

 private:
  std::string here() const { return "gradpress: rank " + std::to_string(reducer_->rank()) + ": "; }
  configuration_error misuse(std::string const& why) const { return configuration_error(here() + why); }
  bool in_step() const { return asked_ || gradient_ > 0; }
  template <class Own>
  static bool loses_nothing([[maybe_unused]] Own const& own) {
    if constexpr (detail::known_at_run_time<Own, Method>)
      return own.lossless();
    else
      return detail::is_lossless<Own>;
  }
  template <class Own>
  void check_method([[maybe_unused]] Own const& own) const {
    if constexpr (detail::known_at_run_time<Own, Method>)
      own.check_for(method_);
    else if constexpr (!detail::is_lossless<Own> && requires { method_.check_memory(own.feedback); })
      method_.check_memory(own.feedback);
  }
  template <class Own>
  handle add_tensor(std::string name, shape dims, Own const& own) {
    if constexpr (detail::known_at_run_time<Own, Method>)
      return own.add(std::move(name), dims);
    else
      return reducer_->add(std::move(name), dims.rows, dims.cols, own);
  }
  training_step now() const { return {number_, reducer_->seed()}; }
  turn<Exec> turn_of(member& m) const {
    turn<Exec> t{reducer_->space(), number_, gradient_, of_, m.parameters, {}};
    if constexpr (detail::reads_residual_of<Method>()) t.residual = reducer_->residual(*m.ways[0]);
    return t;
  }
  int count() const {
    if constexpr (requires { method_.gradients(now()); })
      return method_.gradients(now());
    else
      return 1;
  }
  int samples() const {
    if constexpr (requires { method_.samples(now()); })
      return method_.samples(now());
    else
      return count();
  }
  channel way() const {
    if constexpr (requires { method_.way(now()); })
      return method_.way(now());
    else
      return channel::first;
  }

  // ---- the step ------------------------------------------------------------------------------------------------

  void begin() {
    if (!knows_start_) start_from_here();
    for (auto const& f : schedules_) change(f.knob, number_text(f.value(number_)));
    of_ = count();
    can_undo_ = false;
    if constexpr (requires { method_.upkeep(now()); })
      if (!prepared_ && method_.upkeep(now())) upkeep();
    prepared_ = true;
  }
  void place() {
    if (at_point_) return;
    for (auto& m : members_) m->work->point(method_, turn_of(*m));
    fence(reducer_->space());
    at_point_ = true;
  }
  void abandon_step() {
    gradient_ = 0;
    for (auto& m : members_) m->complaint.clear();
    at_point_ = false;
    place();
  }
  /// What the workers handed out, by one of a parameter's ways, or by the only one that it has. In place.
  void exchange(channel by, bool all = true) {
    for (auto& m : members_) {
      if (m->exchanged == nullptr && m->complaint.empty() && (m->n > 0 || !all)) continue;
      auto const& h = m->ways[static_cast<std::size_t>(by)] ? m->ways[static_cast<std::size_t>(by)] : m->ways[0];
      if (m->complaint.empty())
        reducer_->stage(*h, std::span<float>(m->exchanged, m->n));
      else
        reducer_->fail(*h, m->complaint);
    }
    reducer_->average();
  }
  void upkeep() {
    if constexpr (requires { Method::upkeep_way; }) {
      bool asks = false;
      for (auto& m : members_) {
        m->exchanged = m->work->ask_upkeep(method_, turn_of(*m));
        asks |= m->exchanged != nullptr;
      }
      if (!asks) return;
      exchange(Method::upkeep_way, false);
      if constexpr (Method::upkeep_way == channel::mean) reducer_->rollback();
      for (auto& m : members_) {
        if (m->exchanged == nullptr) continue;
        auto const rest = Method::upkeep_way == channel::mean ? buffer<Exec>() : reducer_->residual(*m->ways[1]);
        m->work->upkeep(method_, turn_of(*m), in<Exec>(m->exchanged, m->n), rest);
      }
      at_point_ = false;
    }
  }

  // ---- what ranks share, knobs, checkpoints ----------------------------------------------------------------------

  static void check(Method const& m) {
    if constexpr (requires { m.check(); }) m.check();
  }
  void declare() {
    char start[20];
    std::snprintf(start, sizeof start, "%016llx", static_cast<unsigned long long>(start_));
    reducer_->declare(describe(method_) + " from the model " + start);
  }
  /// The replicas' models must be equal from here on.
  void start_from_here() {
    std::map<std::string, std::uint64_t> sums;
    for (auto& m : members_) sums[m->name] = checksum(std::as_bytes(std::span<float const>(m->work->shared(), m->n)));
    digest all;
    for (auto const& [name, sum] : sums) all.add(name).add(sum);
    start_ = all.value();
    knows_start_ = true;
    declare();
  }
  static std::vector<detail::live_knob> knobs_of(Method& m);
  /// Returns the knob's full name.
  std::string change(std::string_view knob, std::string_view value);
  texts changed_knobs();
  void take_knobs(std::string_view rest, Method& to) const;
  checkpoint::header header() const {
    return {static_cast<std::uint32_t>(reducer_->rank()), static_cast<std::uint32_t>(reducer_->size()), number_,
            reducer_->seed()};
  }
};

/// A driver: the optimizer, and the compressor that its exchange is by; two for `cser`. The reducer is referred to and
/// must outlive it, and trains nothing else.
template <class Exec, class Method, class... C>
driver<Exec, Method, C...> train_with(reducer<Exec>& over, Method const& method, C const&... compressors) {
  static_assert((detail::explain_memory<Method, C>() && ...));
  return {over, method, compressors...};
}

}  // namespace gradpress

#include <gradpress/optimizer/driver/knobs.hpp>
#include <gradpress/optimizer/driver/state.hpp>
