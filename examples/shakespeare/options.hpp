// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// The command line.

#include <charconv>
#include <cstdint>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace shakespeare {

struct options {
  int steps = 60, ranks = 4;
  std::size_t sequences = 16, length = 32, hidden = 384;
  std::uint64_t seed = 1;
  double rate = 1, momentum = 0.9;
  std::vector<std::string> methods;     ///< as text
  std::string data = SHAKESPEARE_DATA;  // the build says where the file lies
  bool help = false;
};

/// A mistake on the command line, in one sentence.
struct usage_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline constexpr std::string_view usage =
    R"(Trains a recurrent network to guess the next character of Shakespeare's plays, with several ranks that share each
batch, once for each way to exchange gradients.

  shakespeare [options]

  --method TEXT   how matrices travel, for example "top_k(0.001) | error_feedback | gtop_k" or "dense"; may be given
                  more than once ("dense", "top_k(0.01) | error_feedback" and the same with gtop_k)
  --steps N       steps of each method (60)
  --ranks N       workers, as threads of this process; must divide the sequences (4)
  --sequences N   sequences in a batch, of all ranks together (16)
  --length N      characters in a sequence (32)
  --hidden N      units of the network; 384 make 543,425 parameters (384)
  --seed N        of the first weights and of the batches (1)
  --rate X        learning rate of all methods (1)
  --momentum X    momentum of all methods, below 1 (0.9)
  --data FILE     a text (data/tinyshakespeare.txt beside the source of this program)
  --help          this text
)";

namespace detail {

template <class T>
T number_in(std::string_view option, std::string_view text, T least, T most) {
  T value{};
  auto const [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc{} || end != text.data() + text.size() || !(value >= least && value <= most)) {
    std::ostringstream why;
    why << option << " takes a number from " << least << " to " << most << ", not '" << text << "'";
    throw usage_error(why.str());
  }
  return value;
}

}  // namespace detail

/// Throws `usage_error`.
inline options parse(std::vector<std::string> const& arguments) {
  options o;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    auto const& name = arguments[i];
    auto const value = [&]() -> std::string const& {
      if (i + 1 == arguments.size()) throw usage_error(name + " needs a value after it");
      return arguments[++i];
    };
    if (name == "--help" || name == "-h")
      o.help = true;
    else if (name == "--method")
      o.methods.push_back(value());
    else if (name == "--steps")
      o.steps = detail::number_in(name, value(), 1, 1000000);
    else if (name == "--ranks")
      o.ranks = detail::number_in(name, value(), 1, 64);
    else if (name == "--sequences")
      o.sequences = detail::number_in<std::size_t>(name, value(), 1, 4096);
    else if (name == "--length")
      o.length = detail::number_in<std::size_t>(name, value(), 1, 4096);
    else if (name == "--hidden")
      o.hidden = detail::number_in<std::size_t>(name, value(), 1, 4096);
    else if (name == "--seed")
      o.seed = detail::number_in<std::uint64_t>(name, value(), 0, 1000000);
    else if (name == "--rate")
      o.rate = detail::number_in(name, value(), 0., 100.);
    else if (name == "--momentum")
      o.momentum = detail::number_in(name, value(), 0., 0.9999);
    else if (name == "--data")
      o.data = value();
    else
      throw usage_error("there is no option '" + name + "'; --help lists them all");
  }
  if (o.methods.empty()) o.methods = {"dense", "top_k(0.01) | error_feedback", "top_k(0.01) | error_feedback | gtop_k"};
  if (o.sequences % static_cast<std::size_t>(o.ranks) != 0)
    throw usage_error(std::to_string(o.ranks) + " ranks cannot share " + std::to_string(o.sequences) +
                      " sequences evenly; choose --sequences as a multiple of --ranks");
  return o;
}

}  // namespace shakespeare
