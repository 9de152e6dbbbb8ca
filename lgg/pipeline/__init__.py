"""The part of the package that the workflow uses: configuration, recipes, digests, jobs and stages. Nothing else imports it."""
