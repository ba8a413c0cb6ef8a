// A network behind one face, and the list of all of them.
#pragma once

#include "options.hpp"

#include <poolhead/io/weights.hpp>

#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// What --layout, --threads and --mode say.
struct RunOptions {
  bool channels_last = false;
  int threads = 1;
  bool trains = false;
};

class AnyNetwork {
 public:
  virtual ~AnyNetwork() = default;
  /// Everything that --weights must hold, and where it goes.
  virtual std::vector<poolhead::detail::NetworkTensor> state() = 0;
  /// What --output gets for what --input holds.
  virtual poolhead::TensorFile run(const poolhead::TensorFile& input, const RunOptions& options) = 0;
};

/// Makes a network from the options; x is the shape of the input, (0, 0, 0, 0) where there is none yet.
using MakeNetwork = std::function<std::unique_ptr<AnyNetwork>(Options&, const std::vector<poolhead::Index>& x)>;

struct Model {
  std::string name;
  MakeNetwork in_float;
  MakeNetwork in_double;
};

// Each in a unit of its own; together they are all of networks.
std::vector<Model> four_heads();
std::vector<Model> stacks();
std::vector<Model> extractors();
std::vector<Model> resnets();
std::vector<Model> densenets();
std::vector<Model> blocks();
std::vector<Model> heads();

inline std::vector<Model> all_models() {
  std::vector<Model> all;
  for (const auto& group : {four_heads(), stacks(), extractors(), resnets(), densenets(), blocks(), heads()})
    all.insert(all.end(), group.begin(), group.end());
  return all;
}
