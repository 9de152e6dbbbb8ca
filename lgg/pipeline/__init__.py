"""The workflow's side of the package: configuration, recipes, digests, jobs and their stages. Nothing else imports it."""
