"""What programs mean: token facts, evaluators, scores, models, capture of attention."""
