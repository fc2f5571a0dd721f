"""The Requests page: a request's answers, rates of outcomes, judges."""
