// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// The step: four families and an exchange, composed at compile time.
///
///     g --compensate--> a --project--> coefficients --select--> kept --quantize--> codes --encode--> message
///       --exchange--> arrived --decode--> mean coefficients --lift--> g          what of mine was lost --keep--> memory
///
/// phase = round * steps + step: rounds come from the projector; a step more where one rank leads the selection, and one
/// more where the quantizer must agree on something first.
///
/// The order of the step is here. What its stages do is in compressor/: signal.hpp makes the values that sending.hpp makes
/// a message of; decoder.hpp reads what arrives, and delivery.hpp makes the mean and the memory of it; composition.hpp says
/// which branches a composition has.

#include <gradpress/compressor/chooser.hpp>
#include <gradpress/compressor/chunks.hpp>
#include <gradpress/compressor/compose.hpp>
#include <gradpress/compressor/composition.hpp>
#include <gradpress/compressor/debt.hpp>
#include <gradpress/compressor/decoder.hpp>
#include <gradpress/compressor/finite.hpp>
#include <gradpress/compressor/memory_rate.hpp>
#include <gradpress/compressor/support.hpp>
#include <gradpress/core/coder.hpp>
#include <gradpress/core/memory.hpp>
#include <gradpress/encode/message.hpp>
#include <gradpress/kernel/dense.hpp>

#include <algorithm>
#include <utility>

namespace gradpress {

/// A compressor at work on one tensor. Methods that are none specialise it.
template <class Exec, class M>
class tensor_coder final : public coder<Exec> {
  static_assert(is_compressor<M>,
                "tensor_coder: this method is no compressor and needs a tensor_coder of its own; see "
                "docs/concepts/method.md.");
  using Pr = decltype(M::projector);
  using S = decltype(M::selector);
  using Q = decltype(M::quantizer);
  using F = decltype(M::feedback);
  using X = decltype(M::exchange);
  using I = decltype(M::indices);
  using layout = message_layout<Exec, S, Q, I>;
  using visitor = typename coder<Exec>::visitor;
  using context = step<Exec>;

  using is = detail::composition<Exec, M>;
  static constexpr int steps = is::steps;
  static constexpr bool direct = is::direct, dense = is::dense, chunked = is::chunked, merges = is::merges;
  static constexpr bool has_memory = is::has_memory, has_addend = is::has_addend, defers = is::defers;
  static constexpr bool keeps_by_position = is::keeps_by_position, hears_of_whole = is::hears_of_whole;
  static constexpr bool fuses_select = is::fuses_select, fuses_form = is::fuses_form;
  static constexpr bool fuses_quantize = is::fuses_quantize, fuses_project = is::fuses_project;

  M use;
  shape dims;
  state_of<Pr, Exec> basis;
  state_of<F, Exec> memory;
  state_of<X, Exec> meeting;
  detail::chooser<Exec, S> choice;
  detail::memory_rate<Exec, F> rate;
  detail::debt<Exec> debt, old_debt;  // of the memory, and of `rest` for a rollback
  selection<Exec> kept;
  buffer<Exec> rest;          // the signal, then what of it was not delivered; swapped with the memory at the commit
  buffer<Exec> coefficients;  // projected, where they are not the signal itself
  buffer<Exec> own;           // my decoded contribution, in coefficients; only behind a projector
  buffer<Exec> values, agreed;
  in<Exec> a, c, x;         // signal, its coefficients, the values to send; alive inside one step
  int rounds = Pr::rounds;  // of the step that began
  bool dense_now = false;   // the whole signal travels, as floats that add up
  bool empty = false;       // the memory holds zeros, and need be neither read nor written
  bool unkept = false;      // nor was it at the last commit
  bool renewed = false;     // what the projector keeps is of after the last commit
  bool was_whole = false;   // at the last commit the whole signal travelled
  bool only_sent = false;   // `rest` is the signal but where something of mine was sent

 public:
  tensor_coder(M const& m, context const& ctx, shape d)
      : use(m),
        dims(d),
        basis(m.projector, ctx, d),
        memory(m.feedback, ctx, d),
        meeting(m.exchange, ctx,
                keeps_coefficients<X> ? shape{detail::reduced_by(m, d.size(), ctx.rank, ctx.world).second, 1} : d),
        choice(m.selector, ctx, last_count(m.projector, d), first_count(m.projector, d)),
        rate(ctx.exec) {
    if constexpr (has_memory) rest = room(d.size());
    make_debts(use.projector);
    make_room();
  }

  bool begin(context const& ctx) override {
    choice.begin();
    if constexpr (takes_courses<Pr>) {
      auto const now = use.projector.begin(ctx, dims, basis);
      rounds = now.rounds;
      dense_now = now.whole;
    }
    return dense_now;
  }
  int phases() const override { return dense_now ? 1 : rounds * steps; }

  std::size_t capacity(int phase, int world) const override {
    if (dense_now) return 4 * dims.size();
    auto const n = count_of(phase), m = use.selector.max_kept(n);
    if (leads(phase)) return use.indices.index_bytes(n, m);
    if (proposes(phase)) return agreement_bytes(m);
    if constexpr (chunked) {
      std::size_t all = 0;
      for (int p = 0; p < world; ++p) all += padded(use.quantizer.code_bytes(chunk(m, p, world).second));
      return all;
    }
    return layout::size(use.quantizer, use.indices, n, m);
  }

  // ---- one phase, sending side ---------------------------------------------------------------------------------

  std::size_t encode(context const& ctx, in<Exec> g, bytes<Exec> out) override {
    if (ctx.phase == 0 && rate.changes(use.feedback))
      detail::require(settle(ctx), "the memory, in units of the new learning rate, is not finite");
    only_sent = direct && !dense && !dense_now;
    if (dense_now) return write_signal(ctx, g, out);
    if (ctx.phase % steps == 0) prepare(ctx, g);
    if (leads(ctx.phase)) return write_support(ctx, out);
    if constexpr (agreeing<Q>)
      if (proposes(ctx.phase)) return propose(ctx, g, out);
    auto const size = write(ctx, g, out);
    if (last_phase(ctx)) contribute(ctx, part(out, 0, size));
    return size;
  }

  std::size_t silence(context const& ctx, bytes<Exec> out) override {
    kept.count = 0;  // of another phase, whose indices need not fit this one
    auto const n = count_of(ctx.phase);
    if (leads(ctx.phase) && !dense_now) {
      detail::keep_first(kept, use.selector.max_kept(n));
      return write_support(ctx, out);
    }
    bool const of_values = !proposes(ctx.phase) && !dense_now;
    auto const size =
        of_values && layout::counted ? layout::size(use.quantizer, use.indices, n, 0) : capacity(ctx.phase, ctx.world);
    clear(out.data(), size);
    if (!of_values || dense || layout::counted) return size;
    // A rank that failed may have to add what the others send.
    detail::keep_first(kept, use.selector.max_kept(n));
    if constexpr (layout::indexed)
      if (kept.count > 0) use.indices.write(kept.indices.data(), kept.count, n, out.data());
    return size;
  }

  // ---- one phase, receiving side -------------------------------------------------------------------------------

  void check(context const& ctx, arrival<Exec> arrived) override {
    auto const n = count_of(ctx.phase);
    if (dense_now) return detail::require_finite(ctx, floats(arrived, n), "the sum over the ranks overflowed");
    if (leads(ctx.phase)) return take_support(ctx, arrived);
    if (arrived.form == arrival_form::floats)
      return detail::require_finite(ctx, floats(arrived, n), "the update that a rank sent to all is not finite");
    if (proposes(ctx.phase)) return detail::require_summable(ctx, as<float const>(arrived.messages[0]));
    decoder().check(ctx, arrived, n);
  }

  void accept(context const& ctx, arrival<Exec> arrived) override {
    if (leads(ctx.phase)) return take_values(ctx);
    if (proposes(ctx.phase)) {
      auto const shared = as<float const>(arrived.messages[0]);
      return kernel::copy(ctx.exec, shared.data(), shared.extent(0), agreed.data());
    }
    if constexpr (concepts::has_accept<Pr>)
      use.projector.accept(ctx, dims, ctx.phase / steps, in<Exec>(mean_coefficients(ctx, arrived)), basis);
  }

  void commit(context const& ctx, view<Exec> g, arrival<Exec> arrived) override {
    rate.commit();
    choice.commit();
    if (dense_now) return commit_signal(ctx, g, arrived);
    empty = unkept = renewed = was_whole = false;
    if constexpr (direct) {
      keep(ctx, g);
      decoder().decode_mean(ctx, arrived, g);
    } else if constexpr (Pr::linear) {
      lift_mean(ctx, arrived, g);
    } else {
      lift_each(ctx, arrived, g);
    }
    if constexpr (requires { use.feedback.apply(ctx, g, memory); }) use.feedback.apply(ctx, g, memory);
    if constexpr (requires { meeting.commit(); }) meeting.commit();
  }

  void undo() override {
    empty = false;
    rate.undo();
    if (!unkept) {
      if constexpr (requires { use.feedback.undo(rest, memory); }) use.feedback.undo(rest, memory);
      if constexpr (defers) std::swap(debt, old_debt);
    }
    if constexpr (requires { basis.undo(); })
      if (!renewed && (!was_whole || hears_of_whole)) basis.undo();
    if constexpr (requires { meeting.undo(); })
      if (!was_whole) meeting.undo();
    choice.undo();
    renewed = false;
  }

  void travel_dense(bool yes) override {
    if constexpr (is::can_go_dense) dense_now = yes;
  }

  // ---- state ---------------------------------------------------------------------------------------------------

  void visit(context const&, visitor const&) override;
  buffer<Exec> residual(context const&) override;
  std::size_t redrawn() const override;

  // ---- knobs ---------------------------------------------------------------------------------------------------

  knob_change set(context const&, std::string_view knob, std::string_view value) override;
  std::string text() const override;
  std::string value(std::string_view knob) const override;
  bool learning_rate(float now) override;
  /// With its knobs as they are now.
  M const& current() const { return use; }

  // ---- metrics -------------------------------------------------------------------------------------------------

  void signal(context const&, in<Exec> g, view<Exec> out) override;
  double left_behind(context const&, bytes<Exec> message) override;

  // ---- what exchanges ask for ----------------------------------------------------------------------------------

  std::size_t length(context const&) const override;
  void* exchange_state(context const&) override;
  void remember(context const&, std::size_t from, in<Exec> lost) override;
  void merge(context const&, bytes<Exec> mine, in_bytes<Exec> theirs, bool keeps) override;
  void reclaim(context const&, std::span<index_t const> merged) override;
  std::pair<std::size_t, std::size_t> chunk_of(context const&, int p) const override;
  std::size_t chunk_bytes(context const&, int p) const override;
  void mean_of(context const&, std::span<in_bytes<Exec> const> messages, view<Exec> mean) override;
  void recode(context const&, int p, view<Exec> mean, bytes<Exec> out) override;

 private:
  // ---- where in a step, and how much ---------------------------------------------------------------------------

  /// Only coefficients of the last round carry the update; what an earlier round loses changes the basis and no mass.
  bool last_phase(context const& ctx) const { return ctx.phase == rounds * steps - 1; }
  static bool leads(int phase) { return leading<S> && phase % steps == 0; }
  static bool proposes(int phase) { return agreeing<Q> && phase % steps == steps - 2; }
  std::size_t count_of(int phase) const {
    if (dense_now) return dims.size();
    if constexpr (requires { use.projector.coefficients(dims, 0, basis); })
      return use.projector.coefficients(dims, phase / steps, basis);
    else
      return use.projector.coefficients(dims, phase / steps);
  }
  static std::size_t last_count(Pr const& p, shape d) { return p.coefficients(d, Pr::rounds - 1); }
  /// Of rounds before the last, if there are any.
  static std::size_t first_count(Pr const& p, shape d) { return Pr::rounds > 1 ? p.coefficients(d, 0) : 0; }
  std::size_t most_coefficients() const {
    std::size_t most = 0;
    for (int r = 0; r < Pr::rounds; ++r) most = std::max(most, use.projector.coefficients(dims, r));
    return most;
  }
  std::size_t agreement_bytes(std::size_t m) const {
    if constexpr (agreeing<Q>) return 4 * use.quantizer.agreement_size(m);
    return 0;
  }
  std::pair<std::size_t, std::size_t> chunk(std::size_t m, int p, int world) const {
    return detail::chunk_of(m, p, world, detail::grain_of(use.quantizer));
  }
  static buffer<Exec> room(std::size_t n) { return unwritten<Exec>("gradpress::tensor", n); }
  static in<Exec> floats(arrival<Exec> arrived, std::size_t n) {
    return part(as<float const>(arrived.messages[0]), 0, n);
  }

  // ---- the whole signal, dense ---------------------------------------------------------------------------------

  std::size_t write_signal(context const&, in<Exec> g, bytes<Exec> out);
  void commit_signal(context const&, view<Exec> g, arrival<Exec> arrived);

  // ---- the stages ----------------------------------------------------------------------------------------------

  void prepare(context const&, in<Exec> g);
  void select_while_making(context const&, in<Exec> g);
  void project(context const&, in<Exec> g);
  void project_while_making(context const&, in<Exec> g);
  void select(context const&, in<Exec> g);
  void choose(context const&);
  void take_values(context const&);
  /// The selector, with what it keeps if it does.
  working<S, Exec> const selector(context const& ctx) {
    return choice.in_round(use.selector, ctx.phase / steps == rounds - 1);
  }
  std::size_t write_support(context const& ctx, bytes<Exec> out) const {
    if (!detail::is_leader(use.selector, ctx)) return 0;
    auto const n = count_of(ctx.phase);
    use.indices.write(kept.indices.data(), kept.count, n, out.data());
    return use.indices.index_bytes(n, kept.count);
  }
  void take_support(context const& ctx, arrival<Exec> arrived) {
    if constexpr (leading<S>) detail::take_support(use.selector, use.indices, ctx, arrived, count_of(ctx.phase), kept);
  }

  std::size_t propose(context const&, in<Exec> g, bytes<Exec> out);
  std::size_t write(context const&, in<Exec> g, bytes<Exec> out);
  void write_codes(context const&, in<Exec> g, std::size_t from, std::size_t length, bytes<Exec> codes);
  void check_values(context const&);
  void contribute(context const&, bytes<Exec> message);
  void add_own(context const&, bytes<Exec> message, float sign, view<Exec> target);

  detail::decoder<Exec, S, Q, I> decoder() const {
    return {use.selector, use.quantizer, use.indices, in<Exec>(agreed), in<Exec, index_t>(kept.indices)};
  }
  view<Exec> mean_coefficients(context const&, arrival<Exec> arrived) const;
  void lift_mean(context const&, arrival<Exec> arrived, view<Exec> g);
  void lift_each(context const&, arrival<Exec> arrived, view<Exec> g);
  void owe_own(context const&, in<Exec> mean);
  void deliver_own(context const&, view<Exec> g);
  void keep(context const&, view<Exec> g);
  void return_to_memory(context const&, kernel::stream const& dropped);
  bool settle(context const&);

  void renew(context const&, Pr const& projector);
  void make_debts(Pr const& projector);
  void make_room();
};

}  // namespace gradpress

#include <gradpress/compressor/delivery.hpp>
#include <gradpress/compressor/exchanges.hpp>
#include <gradpress/compressor/knobs.hpp>
#include <gradpress/compressor/metrics.hpp>
#include <gradpress/compressor/sending.hpp>
#include <gradpress/compressor/signal.hpp>
#include <gradpress/compressor/state.hpp>
#include <gradpress/compressor/whole.hpp>
