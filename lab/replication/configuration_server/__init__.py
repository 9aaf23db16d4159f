"""The configuration server: identity, state, jobs and the control API of the reference stack (seed L42-52, L140)."""
