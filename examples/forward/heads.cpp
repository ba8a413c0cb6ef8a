#include "program.hpp"

namespace {

/// A head on x itself.
template <class T>
MakeNetwork make(const std::string& pool) {
  return [pool](Options& options, const std::vector<poolhead::Index>& x) {
    poolhead::HeadOptions head{.pool = pool};
    const auto channels = options.number("in_channels", x[1] > 0 ? x[1] : 512);
    if (pool == "spp" || pool == "improved-spp") head.levels = options.numbers("levels", "1,2,4");
    if (pool == "spp") head.max_bins = options.choice("spp_pool", "avg", {"avg", "max"}) == "max";
    if (pool == "improved-spp") head.out_features = options.number("out_features", 256);
    if (pool.ends_with("attention")) {
      const poolhead::Index share = pool == "softmax-attention" ? 16 : 8;
      head.attention_hidden =
          options.number("attention_hidden", std::max<poolhead::Index>(channels / share, 1));
    }
    return forward::wrap<T>(poolhead::AnyHead<T>(head, channels));
  };
}

}  // namespace

std::vector<Model> heads() {
  std::vector<Model> all{{"concat-pool", make<float>("mixed"), make<double>("mixed")}};
  for (const std::string name :
       {"gem", "lse", "soft", "spp", "improved-spp", "softmax-attention", "sigmoid-attention"})
    all.push_back({name, make<float>(name), make<double>(name)});
  return all;
}
