"""Motion generation: a GPT-2 over motion tokens that continues a clip or speaks with an emotion."""
