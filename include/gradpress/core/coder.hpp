// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// The one type boundary: a method at work on a tensor, as the reducer and the exchanges see it.

#include <gradpress/core/compile_once.hpp>
#include <gradpress/core/knobs.hpp>
#include <gradpress/core/step.hpp>

#include <algorithm>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gradpress {

/// How a section's messages arrived.
enum class arrival_form {
  sum,     ///< one message, the sum of (or merged from) all ranks' contributions
  each,    ///< P messages, one a rank, in rank order
  chunks,  ///< P messages; number p is the mean of chunk p of the tensor
  sums,    ///< one message or more; number p is the sum over part p of as many (slice_of), as a sum_stream
  floats   ///< one message: all coefficients of the update, as floats
};

/// What an exchange delivers to a tensor in one phase. Lives until the step ends.
template <class Exec>
struct arrival {
  std::span<in_bytes<Exec> const> messages;
  arrival_form form = arrival_form::sum;
};

/// What the reducer does with a tensor. Nothing that a checkpoint keeps, and not the gradient, changes before `commit`.
template <class Exec>
class coder {
 public:
  using visitor = std::function<void(char const*, buffer<Exec>)>;

  virtual ~coder() = default;
  /// The first call of a step: decides how many phases it has, alike on all ranks. True: the signal travels whole, as
  /// floats that add up, in one phase.
  virtual bool begin(step<Exec> const&) = 0;
  [[nodiscard]] virtual int phases() const = 0;
  /// Bound on the bytes of this phase's message; exact where the kind's size is fixed.
  [[nodiscard]] virtual std::size_t capacity(int phase, int world) const = 0;
  /// Writes this rank's message and returns its bytes. Throws `non_finite_error` before anything is sent.
  virtual std::size_t encode(step<Exec> const&, in<Exec> g, bytes<Exec> out) = 0;
  /// A legal message that contributes nothing, for a rank that failed and must not leave the others waiting.
  virtual std::size_t silence(step<Exec> const&, bytes<Exec> out) = 0;
  /// Throws `payload_error` if these messages cannot be what an honest rank sent; `non_finite_error` if a sum
  /// overflowed.
  virtual void check(step<Exec> const&, arrival<Exec>) = 0;
  /// A phase that is not the last: what was agreed on, or the mean factor. Tentative state only.
  virtual void accept(step<Exec> const&, arrival<Exec>) = 0;
  /// The step stands: g becomes the mean, memories and factors move on.
  virtual void commit(step<Exec> const&, view<Exec> g, arrival<Exec>) = 0;
  /// Takes the last commit's memories and factors back.
  virtual void undo() = 0;
  virtual void visit(step<Exec> const&, visitor const&) = 0;
  /// What of the signals was not delivered yet, where the signal is the gradient plus that; else empty. Between steps it
  /// may be written.
  virtual buffer<Exec> residual(step<Exec> const&) = 0;
  /// Columns of the projector's factors that had vanished and were drawn anew at the last commit.
  [[nodiscard]] virtual std::size_t redrawn() const = 0;

  /// Changes a knob of a live policy; memories stay, workspace is sized anew, and what a projector keeps is drawn anew
  /// but for what it carries over. Throws `configuration_error` and changes nothing if there is no such knob, or no such
  /// value of it.
  virtual knob_change set(step<Exec> const&, std::string_view knob, std::string_view value) = 0;
  /// What ranks compare, knobs as they are now.
  [[nodiscard]] virtual std::string text() const = 0;
  /// Of a knob, as text that `set` takes; throws as it does where there is no such knob.
  [[nodiscard]] virtual std::string value(std::string_view knob) const = 0;

  /// Tells a memory in units of the model what the learning rate is from the next step on; false if there is none.
  virtual bool learning_rate(float) = 0;

  /// From the next step on the whole signal travels as floats that add up, in one phase, and nothing is left for the
  /// memory; or no longer. Only where the method's exchange weighs that.
  virtual void travel_dense(bool) = 0;

  /// Metrics: writes the signal, gradient and memory, before the commit. Changes nothing.
  virtual void signal(step<Exec> const&, in<Exec> g, view<Exec> out) = 0;
  /// Metrics: norm of the signal less what `message`, just encoded in the last phase, holds of it.
  virtual double left_behind(step<Exec> const&, bytes<Exec> message) = 0;

  /// Merging exchanges: folds `theirs` into `mine`; with `keeps`, this rank's memory takes what the merge drops.
  virtual void merge(step<Exec> const&, bytes<Exec> mine, in_bytes<Exec> theirs, bool keeps) = 0;
  /// How many coefficients this phase is about; what a merging exchange's indices may name.
  [[nodiscard]] virtual std::size_t length(step<Exec> const&) const = 0;
  /// Merging exchanges that do not keep all: what I sent under an index that is not among `kept`, ascending, returns to
  /// my memory.
  virtual void reclaim(step<Exec> const&, std::span<index_t const> kept) = 0;
  /// Exchanges that remember: their `state<Exec>`; null in rounds before the last, which have none.
  [[nodiscard]] virtual void* exchange_state(step<Exec> const&) = 0;
  /// Exchanges that round a sum: what the rounding lost of coefficients [from, from + lost.extent(0)), for all ranks
  /// together, enters this rank's memory.
  virtual void remember(step<Exec> const&, std::size_t from, in<Exec> lost) = 0;
  /// Chunked exchanges: where chunk p starts, its length, and the bytes of its message.
  [[nodiscard]] virtual std::pair<std::size_t, std::size_t> chunk_of(step<Exec> const&, int p) const = 0;
  [[nodiscard]] virtual std::size_t chunk_bytes(step<Exec> const&, int p) const = 0;
  /// Exchanges that reduce at one rank: the mean over the ranks of the mean.extent(0) coefficients which `messages` are
  /// about, one from each rank, in rank order: a chunk's where the exchange is chunked, else all of them. Throws what
  /// `check` does. Changes nothing.
  virtual void mean_of(step<Exec> const&, std::span<in_bytes<Exec> const> messages, view<Exec> mean) = 0;
  /// Chunked exchanges, at chunk p's owner: encodes a mean by the method's quantizer; the owner's memory takes what this
  /// loses. `mean` is workspace then.
  virtual void recode(step<Exec> const&, int p, view<Exec> mean, bytes<Exec> out) = 0;
};

/// Passes on what the policies of one method keep, one policy after the other. A name that one before it has already is
/// preceded by its policy's: "loco.age". So a checkpoint tells them apart, whoever wrote the policies.
template <class Exec>
class names_apart {
  typename coder<Exec>::visitor const* to_;
  std::vector<std::string> before_, here_;
  std::string_view policy_;

 public:
  explicit names_apart(typename coder<Exec>::visitor const& to);
  ~names_apart();
  /// What follows is of this policy.
  names_apart& of(std::string_view policy);
  void operator()(char const* name, buffer<Exec> values);
};

template <class Exec>
names_apart<Exec>::names_apart(typename coder<Exec>::visitor const& to) : to_(&to) {}
template <class Exec>
names_apart<Exec>::~names_apart() = default;
template <class Exec>
names_apart<Exec>& names_apart<Exec>::of(std::string_view policy) {
  before_.insert(before_.end(), here_.begin(), here_.end());
  here_.clear();
  policy_ = policy;
  return *this;
}
template <class Exec>
void names_apart<Exec>::operator()(char const* name, buffer<Exec> values) {
  here_.emplace_back(name);
  bool const taken = std::find(before_.begin(), before_.end(), name) != before_.end();
  (*to_)(taken ? (std::string(policy_) + '.' + name).c_str() : name, values);
}

GRADPRESS_CLASS_ONCE(names_apart);

}  // namespace gradpress
