// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Ranks agree before the first byte, and on success before anything changes. Every message here has a size that no
/// configuration can alter, so ranks that differ find out instead of waiting for one another.

#include <gradpress/core/error.hpp>
#include <gradpress/core/knobs.hpp>
#include <gradpress/core/letter.hpp>
#include <gradpress/core/transport.hpp>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

namespace gradpress {

/// Why this rank cannot take the step; the first reason stands.
class failure {
 public:
  enum class cause : std::uint64_t { none, other, configuration, payload, non_finite };

  explicit operator bool() const noexcept { return cause_ != cause::none; }
  void note(std::exception const& e, std::string const& tensor) {
    if (*this) return;
    cause_ = dynamic_cast<non_finite_error const*>(&e)      ? cause::non_finite
             : dynamic_cast<payload_error const*>(&e)       ? cause::payload
             : dynamic_cast<configuration_error const*>(&e) ? cause::configuration
                                                            : cause::other;
    text_ = (tensor.empty() ? "" : "tensor '" + tensor + "': ") + e.what();
  }
  [[nodiscard]] cause why() const noexcept { return cause_; }
  [[nodiscard]] std::string const& text() const noexcept { return text_; }

 private:
  cause cause_ = cause::none;
  std::string text_;
};

/// What ranks must share, and the two small collectives a step that make sure of it.
class consensus {
  static constexpr std::size_t fields = 8;
  static constexpr std::array<char const*, fields> names = {"wire version", "world size", "seed",    "step number",
                                                            "tensor names", "shapes",     "methods", "staged tensors"};
  static constexpr std::size_t text_size = 256;

  struct item {
    std::string_view name, method;
    shape dims;
    bool staged;
  };
  std::vector<item> items_;
  std::vector<std::uint64_t> all_, received_;  // kept, so that no step allocates

 public:
  void clear() { items_.clear(); }
  void add(std::string_view name, shape dims, std::string_view method, bool staged) {
    items_.push_back({name, method, dims, staged});
  }

  /// Throws `configuration_error`, the same on all ranks, naming the field, the ranks and the first tensor that
  /// differs. Returns the bytes sent.
  std::size_t agree(transport& comm, std::uint64_t seed, std::uint64_t step) {
    digest tensor_names, shapes, methods, staged;
    for (auto const& i : items_) {
      tensor_names.add(i.name);
      shapes.add(i.dims.rows).add(i.dims.cols);
      methods.add(i.method);
      staged.add(i.staged ? 1u : 0u);
    }
    auto const P = static_cast<std::size_t>(comm.size());
    std::uint64_t const mine[fields + 1] = {letter_header::expected_version,
                                            P,
                                            seed,
                                            step,
                                            tensor_names.value(),
                                            shapes.value(),
                                            methods.value(),
                                            staged.value(),
                                            items_.size()};
    auto const sent = gather(comm, mine);
    std::string text;
    for (std::size_t f = 0; f < fields; ++f) {
      std::string ranks;
      for (std::size_t p = 1; p < P; ++p)
        if (all_[p * (fields + 1) + f] != all_[f]) ranks += (ranks.empty() ? "" : ", ") + std::to_string(p);
      if (!ranks.empty())
        text += std::string(text.empty() ? "" : "; ") + names[f] +
                (ranks.find(',') == std::string::npos ? " of rank " : " of ranks ") + ranks;
    }
    if (text.empty()) return sent;
    std::size_t most = 0;
    for (std::size_t p = 0; p < P; ++p)
      most = std::max(most, static_cast<std::size_t>(all_[p * (fields + 1) + fields]));
    throw configuration_error(
        "gradpress: rank 0 and others differ in: " + text + first_difference(comm, most) +
        ". Nothing was sent or changed; give every rank the same seed, tensors and methods with the same knobs, and "
        "stage the same tensors in each step");
  }

  /// Throws what the worst-off rank met, with every failed rank's reason, the same on all ranks. Returns the bytes
  /// sent.
  std::size_t vote(transport& comm, failure const& mine, std::uint64_t step) {
    auto const P = static_cast<std::size_t>(comm.size());
    std::uint64_t const ballot[1] = {static_cast<std::uint64_t>(mine.why())};
    auto const sent = gather(comm, ballot);
    auto const worst = *std::max_element(all_.begin(), all_.end());
    if (worst == 0) return sent;
    auto const votes = all_;
    auto const texts = gather_texts(comm, mine.text());
    std::string text = "gradpress: step " + std::to_string(step) + " was not taken:";
    for (std::size_t p = 0; p < P; ++p)
      if (votes[p] != 0) text += " rank " + std::to_string(p) + ": " + texts[p] + ';';
    text += " nothing was changed. ";
    switch (static_cast<failure::cause>(worst)) {
      case failure::cause::non_finite:
        throw non_finite_error(text + "Skip this step, or lower the learning rate or the loss scale");
      case failure::cause::payload:
        throw payload_error(text + "Repeat the step; if it stays, the transport damages messages");
      case failure::cause::configuration:
        throw configuration_error(text + "Stage each tensor once, as it was registered");
      default:
        throw error(text + "Mend what failed and repeat the step");
    }
  }

 private:
  /// Fills all_ with the rows of all ranks; each travels with its checksum. A damaged row is the transport's failure:
  /// this rank cannot know what the others decided. Returns the bytes sent.
  template <std::size_t Words>
  std::size_t gather(transport& comm, std::uint64_t const (&mine)[Words]) {
    auto const P = static_cast<std::size_t>(comm.size());
    std::uint64_t row[Words + 1];
    std::copy(mine, mine + Words, row);
    row[Words] = checksum(std::as_bytes(std::span(mine)));
    received_.resize((Words + 1) * P);
    comm.all_gather(std::as_bytes(std::span(row)), std::as_writable_bytes(std::span(received_)));
    all_.resize(Words * P);
    for (std::size_t p = 0; p < P; ++p) {
      auto const words = std::span(received_).subspan(p * (Words + 1), Words);
      if (received_[p * (Words + 1) + Words] != checksum(std::as_bytes(words)))
        throw communicator_error("the control message from rank " + std::to_string(p) + " arrived damaged");
      std::copy(words.begin(), words.end(), all_.begin() + static_cast<std::ptrdiff_t>(p * Words));
    }
    return sizeof row;
  }
  static std::vector<std::string> gather_texts(transport& comm, std::string text) {
    auto const P = static_cast<std::size_t>(comm.size());
    text.resize(text_size);
    std::string all(P * text_size, '\0');
    comm.all_gather(std::as_bytes(std::span(text)), std::as_writable_bytes(std::span(all)));
    std::vector<std::string> texts;
    for (std::size_t p = 0; p < P; ++p)
      texts.emplace_back(all.data() + p * text_size, strnlen(all.data() + p * text_size, text_size));
    return texts;
  }
  /// One more look, tensor by tensor, at what the digests say is different.
  std::string first_difference(transport& comm, std::size_t most) {
    for (std::size_t i = 0; i < most; ++i) {
      std::string line = "nothing";
      if (i < items_.size()) {
        auto const& t = items_[i];
        line = std::string(t.staged ? "staged '" : "unstaged '").append(t.name.substr(0, 96)).append("' ") +
               std::to_string(t.dims.rows) + " x " + std::to_string(t.dims.cols) + " by ";
        line.append(t.method.substr(0, 120));
      }
      auto const texts = gather_texts(comm, line);
      for (std::size_t p = 1; p < texts.size(); ++p)
        if (texts[p] != texts[0])
          return " (first: rank 0 has " + texts[0] + ", rank " + std::to_string(p) + " has " + texts[p] + ")";
    }
    return "";
  }
};

}  // namespace gradpress
