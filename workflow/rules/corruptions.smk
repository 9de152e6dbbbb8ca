# The corrupted test images of Tables 2 and 3. Reads data/test.safetensors; writes figures/corruptions and, if configured,
# data/corruptions.tar, or downloads the official archive. ARCHIVE is the file to read them from; without one each evaluation
# generates them.

ARCHIVE = []

if settings.corruptions and (settings.embedding or settings.robustness):
    targets += figures("corruptions")

    if settings.corruptions.source == "cifar10_c":
        ARCHIVE = [settings.corruptions.path or "downloads/CIFAR-10-C.tar"]

        use rule light as download_corruptions with:
            output:
                archive=ARCHIVE[0],
            pathvars:
                job="download_corruptions",
            localrule: True
            params:
                stage="download_corruptions",
                recipe="{}",
                # no digest: editing the code must not discard a download of gigabytes whose MD5 was checked
                code="",

    elif settings.corruptions.keep:
        ARCHIVE = [f"{RESULTS}/data/corruptions.tar"]

        use rule evaluation as keep_corruptions with:
            input:
                test=TEST_IMAGES,
            output:
                archive=ARCHIVE[0],
            pathvars:
                job="keep_corruptions",
            # evaluations wait for it
            priority: 10
            resources:
                **asks(EVALUATE, 0),
            params:
                **stage(recipes.keep_corruptions(settings.corruptions)),

    use rule light as draw_corruptions with:
        input:
            test=TEST_IMAGES,
            corruptions=ARCHIVE,
        output:
            **figure("corruptions", "supplements", "Corruptions: one image under every corruption and severity"),
        pathvars:
            job="draw_corruptions",
        localrule: True
        params:
            **stage(recipes.draw_corruptions(settings.corruptions)),
