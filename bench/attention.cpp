#include <poolhead/pool/attention.hpp>

#include "harness.hpp"

namespace poolhead::bench {

void add_attention() {
  const auto add_kind = [](const std::string& name, bool softmax) {
    add_pool(
        {.name = name,
         .peer = {softmax ? PeerKind::attention_softmax : PeerKind::attention_sigmoid},
         .backward_reads_x = true,
         .whole_samples = true},
        [=]<class T>(Index channels) {
          return AttentionPool<T>(channels, std::max<Index>(1, channels / 16),
                                  softmax ? AttentionPool<T>::softmax : AttentionPool<T>::sigmoid);
        },
        [](const auto& pool) { return test::AttentionOracle(pool); });
  };
  add_kind("Attention-softmax", true);
  add_kind("Attention-sigmoid", false);
}

}  // namespace poolhead::bench
