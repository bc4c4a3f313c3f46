"""Makes a model that is small enough for a laptop's CPU: a configuration and a tokenizer, `model.py FOLDER`.

There are no weights: vLLM makes them up (`--load-format dummy`). What it answers is noise, and how it queues is genuine.
"""

import sys

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, PreTrainedTokenizerFast

folder = sys.argv[1]

LlamaConfig(
    architectures=["LlamaForCausalLM"],
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=2,
    vocab_size=512,
    max_position_embeddings=2048,
    bos_token_id=0,
    eos_token_id=1,
    torch_dtype="float32",
).save_pretrained(folder)

tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
trainer = trainers.BpeTrainer(
    vocab_size=512,
    special_tokens=["<s>", "</s>"],
    initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
)
tokenizer.train_from_iterator(["A request a second is a small load, and twenty at once are a queue."], trainer)
PreTrainedTokenizerFast(
    tokenizer_object=tokenizer,
    bos_token="<s>",
    eos_token="</s>",
    chat_template="{% for message in messages %}{{ message['content'] }}{% endfor %}",
).save_pretrained(folder)
