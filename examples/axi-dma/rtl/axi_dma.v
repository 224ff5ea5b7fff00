// An AXI DMA with the register map of PG021: memory to stream and stream to memory, in direct register mode or with
// scatter-gather descriptors. Registers are an AXI4-Lite slave; each channel has an AXI4 master for its data and one for its
// descriptors, and interrupts by a line of its own.
//
//      0x00  MM2S channel (axi_dma_channel.v)          m_axi_mm2s, m_axi_mm2s_sg, m_axis
//      0x30  S2MM channel                              m_axi_s2mm, m_axi_s2mm_sg, s_axis
//
// Cyclic and multichannel mode and keyhole writes are left out.
module axi_dma (
    input  wire        clk,
    input  wire        rst_n,

    // Straps: how the core was built. They do not change while it runs.
    input  wire        scatter_gather,
    input  wire [6:0]  address_bits,
    input  wire [4:0]  length_bits,

    input  wire [9:0]  s_axil_awaddr,
    input  wire        s_axil_awvalid,
    output wire        s_axil_awready,
    input  wire [31:0] s_axil_wdata,
    input  wire [3:0]  s_axil_wstrb,
    input  wire        s_axil_wvalid,
    output wire        s_axil_wready,
    output wire [1:0]  s_axil_bresp,
    output reg          s_axil_bvalid,
    input  wire        s_axil_bready,
    input  wire [9:0]  s_axil_araddr,
    input  wire        s_axil_arvalid,
    output wire        s_axil_arready,
    output reg   [31:0] s_axil_rdata,
    output wire [1:0]  s_axil_rresp,
    output reg          s_axil_rvalid,
    input  wire        s_axil_rready,

    output wire [63:0] m_axi_mm2s_araddr,
    output wire [7:0]  m_axi_mm2s_arlen,
    output wire [2:0]  m_axi_mm2s_arsize,
    output wire [1:0]  m_axi_mm2s_arburst,
    output wire        m_axi_mm2s_arvalid,
    input  wire        m_axi_mm2s_arready,
    input  wire [63:0] m_axi_mm2s_rdata,
    input  wire [1:0]  m_axi_mm2s_rresp,
    input  wire        m_axi_mm2s_rlast,
    input  wire        m_axi_mm2s_rvalid,
    output wire        m_axi_mm2s_rready,
    output wire [63:0] m_axi_s2mm_awaddr,
    output wire [7:0]  m_axi_s2mm_awlen,
    output wire [2:0]  m_axi_s2mm_awsize,
    output wire [1:0]  m_axi_s2mm_awburst,
    output wire        m_axi_s2mm_awvalid,
    input  wire        m_axi_s2mm_awready,
    output wire [63:0] m_axi_s2mm_wdata,
    output wire [7:0]  m_axi_s2mm_wstrb,
    output wire        m_axi_s2mm_wlast,
    output wire        m_axi_s2mm_wvalid,
    input  wire        m_axi_s2mm_wready,
    input  wire [1:0]  m_axi_s2mm_bresp,
    input  wire        m_axi_s2mm_bvalid,
    output wire        m_axi_s2mm_bready,

    output wire [63:0] m_axi_mm2s_sg_araddr,
    output wire [7:0]  m_axi_mm2s_sg_arlen,
    output wire [2:0]  m_axi_mm2s_sg_arsize,
    output wire [1:0]  m_axi_mm2s_sg_arburst,
    output wire        m_axi_mm2s_sg_arvalid,
    input  wire        m_axi_mm2s_sg_arready,
    input  wire [63:0] m_axi_mm2s_sg_rdata,
    input  wire [1:0]  m_axi_mm2s_sg_rresp,
    input  wire        m_axi_mm2s_sg_rlast,
    input  wire        m_axi_mm2s_sg_rvalid,
    output wire        m_axi_mm2s_sg_rready,
    output wire [63:0] m_axi_mm2s_sg_awaddr,
    output wire [7:0]  m_axi_mm2s_sg_awlen,
    output wire [2:0]  m_axi_mm2s_sg_awsize,
    output wire [1:0]  m_axi_mm2s_sg_awburst,
    output wire        m_axi_mm2s_sg_awvalid,
    input  wire        m_axi_mm2s_sg_awready,
    output wire [63:0] m_axi_mm2s_sg_wdata,
    output wire [7:0]  m_axi_mm2s_sg_wstrb,
    output wire        m_axi_mm2s_sg_wlast,
    output wire        m_axi_mm2s_sg_wvalid,
    input  wire        m_axi_mm2s_sg_wready,
    input  wire [1:0]  m_axi_mm2s_sg_bresp,
    input  wire        m_axi_mm2s_sg_bvalid,
    output wire        m_axi_mm2s_sg_bready,

    output wire [63:0] m_axi_s2mm_sg_araddr,
    output wire [7:0]  m_axi_s2mm_sg_arlen,
    output wire [2:0]  m_axi_s2mm_sg_arsize,
    output wire [1:0]  m_axi_s2mm_sg_arburst,
    output wire        m_axi_s2mm_sg_arvalid,
    input  wire        m_axi_s2mm_sg_arready,
    input  wire [63:0] m_axi_s2mm_sg_rdata,
    input  wire [1:0]  m_axi_s2mm_sg_rresp,
    input  wire        m_axi_s2mm_sg_rlast,
    input  wire        m_axi_s2mm_sg_rvalid,
    output wire        m_axi_s2mm_sg_rready,
    output wire [63:0] m_axi_s2mm_sg_awaddr,
    output wire [7:0]  m_axi_s2mm_sg_awlen,
    output wire [2:0]  m_axi_s2mm_sg_awsize,
    output wire [1:0]  m_axi_s2mm_sg_awburst,
    output wire        m_axi_s2mm_sg_awvalid,
    input  wire        m_axi_s2mm_sg_awready,
    output wire [63:0] m_axi_s2mm_sg_wdata,
    output wire [7:0]  m_axi_s2mm_sg_wstrb,
    output wire        m_axi_s2mm_sg_wlast,
    output wire        m_axi_s2mm_sg_wvalid,
    input  wire        m_axi_s2mm_sg_wready,
    input  wire [1:0]  m_axi_s2mm_sg_bresp,
    input  wire        m_axi_s2mm_sg_bvalid,
    output wire        m_axi_s2mm_sg_bready,

    output wire [63:0] m_axis_tdata,
    output wire [7:0]  m_axis_tkeep,
    output wire        m_axis_tlast,
    output wire        m_axis_tvalid,
    input  wire        m_axis_tready,
    input  wire [63:0] s_axis_tdata,
    input  wire [7:0]  s_axis_tkeep,
    input  wire        s_axis_tlast,
    input  wire        s_axis_tvalid,
    output wire        s_axis_tready,

    // Low while the core is reset by its driver, with whatever hangs on its streams.
    output wire        stream_rst_n,
    output wire        intx,
    output reg  [1:0]  msi
);

  // ------------------------------------------------------------------------------------------------ registers
  wire        write = s_axil_awvalid && s_axil_wvalid && !s_axil_bvalid;
  assign s_axil_awready = write;
  assign s_axil_wready = write;
  assign s_axil_bresp = 2'b00;
  wire        whole = s_axil_wstrb == 4'b1111;
  wire [9:0]  to = s_axil_awaddr;
  wire        write_mm2s = write && whole && to < 10'h30;
  wire        write_s2mm = write && whole && to >= 10'h30 && to < 10'h60;
  wire [9:0]  to_s2mm = to - 10'h30;

  wire        read = s_axil_arvalid && !s_axil_rvalid;
  assign s_axil_arready = read;
  assign s_axil_rresp = 2'b00;
  wire [9:0]  from_s2mm = s_axil_araddr - 10'h30;
  wire [31:0] read_mm2s, read_s2mm;

  always @(posedge clk) begin
    if (!rst_n) begin
      s_axil_bvalid <= 1'b0;
      s_axil_rvalid <= 1'b0;
    end else begin
      if (write) s_axil_bvalid <= 1'b1;
      else if (s_axil_bready) s_axil_bvalid <= 1'b0;
      if (read) begin
        s_axil_rvalid <= 1'b1;
        s_axil_rdata <= s_axil_araddr < 10'h30 ? read_mm2s : s_axil_araddr < 10'h60 ? read_s2mm : 32'd0;
      end else if (s_axil_rready) s_axil_rvalid <= 1'b0;
    end
  end

  // ---------------------------------------------------------------------------------------------------- reset
  // Of the whole core, whichever channel was told: what is on the bus ends first (PG021, "Resets").
  reg         resetting;
  reg  [3:0]  settle;
  wire        reset_mm2s, reset_s2mm;
  wire        quiet = read_mm2s_halted && read_s2mm_halted && !busy_mm2s && !busy_s2mm;
  wire        core_rst_n = rst_n && settle != 4'd1;
  assign stream_rst_n = core_rst_n;

  always @(posedge clk) begin
    if (!rst_n) begin
      resetting <= 1'b0;
      settle <= 4'd0;
    end else if (reset_mm2s || reset_s2mm) begin
      resetting <= 1'b1;
      settle <= 4'd8;
    end else if (resetting) begin
      if (settle > 4'd2) settle <= settle - 4'd1;
      else if (settle == 4'd2 && quiet) settle <= 4'd1;
      else if (settle == 4'd1) begin
        settle <= 4'd0;
        resetting <= 1'b0;
      end
    end
  end

  // ----------------------------------------------------------------------------------------------- interrupts
  wire        interrupt_mm2s, interrupt_s2mm;
  reg  [1:0]  interrupts_before;
  assign intx = interrupt_mm2s || interrupt_s2mm;
  // A message at each rising edge.
  always @(posedge clk) begin
    interrupts_before <= rst_n ? {interrupt_s2mm, interrupt_mm2s} : 2'd0;
    msi <= rst_n ? {interrupt_s2mm, interrupt_mm2s} & ~interrupts_before : 2'd0;
  end

  // ------------------------------------------------------------------------------------------------- channels
  wire        start_mm2s, ends_mm2s, abort_mm2s, busy_mm2s, done_mm2s, active_mm2s, read_mm2s_halted;
  wire [63:0] address_mm2s;
  wire [25:0] length_mm2s, moved_mm2s;
  wire [1:0]  error_mm2s;

  axi_dma_channel #(
      .RECEIVES(0)
  ) mm2s_channel (
      .clk(clk),
      .rst_n(core_rst_n),
      .scatter_gather(scatter_gather),
      .address_bits(address_bits),
      .length_bits(length_bits),
      .write(write_mm2s),
      .write_offset(to[5:0]),
      .write_data(s_axil_wdata),
      .read_offset(s_axil_araddr[5:0]),
      .read_data(read_mm2s),
      .halted(read_mm2s_halted),
      .resetting(resetting),
      .reset_wanted(reset_mm2s),
      .interrupt(interrupt_mm2s),
      .job_start(start_mm2s),
      .job_active(active_mm2s),
      .job_address(address_mm2s),
      .job_length(length_mm2s),
      .job_ends_packet(ends_mm2s),
      .abort(abort_mm2s),
      .mover_busy(busy_mm2s),
      .job_done(done_mm2s),
      .job_moved(moved_mm2s),
      .job_error(error_mm2s),
      .job_ended(1'b0),
      .job_began(1'b0),
      .m_axi_sg_araddr(m_axi_mm2s_sg_araddr),
      .m_axi_sg_arlen(m_axi_mm2s_sg_arlen),
      .m_axi_sg_arsize(m_axi_mm2s_sg_arsize),
      .m_axi_sg_arburst(m_axi_mm2s_sg_arburst),
      .m_axi_sg_arvalid(m_axi_mm2s_sg_arvalid),
      .m_axi_sg_arready(m_axi_mm2s_sg_arready),
      .m_axi_sg_rdata(m_axi_mm2s_sg_rdata),
      .m_axi_sg_rresp(m_axi_mm2s_sg_rresp),
      .m_axi_sg_rlast(m_axi_mm2s_sg_rlast),
      .m_axi_sg_rvalid(m_axi_mm2s_sg_rvalid),
      .m_axi_sg_rready(m_axi_mm2s_sg_rready),
      .m_axi_sg_awaddr(m_axi_mm2s_sg_awaddr),
      .m_axi_sg_awlen(m_axi_mm2s_sg_awlen),
      .m_axi_sg_awsize(m_axi_mm2s_sg_awsize),
      .m_axi_sg_awburst(m_axi_mm2s_sg_awburst),
      .m_axi_sg_awvalid(m_axi_mm2s_sg_awvalid),
      .m_axi_sg_awready(m_axi_mm2s_sg_awready),
      .m_axi_sg_wdata(m_axi_mm2s_sg_wdata),
      .m_axi_sg_wstrb(m_axi_mm2s_sg_wstrb),
      .m_axi_sg_wlast(m_axi_mm2s_sg_wlast),
      .m_axi_sg_wvalid(m_axi_mm2s_sg_wvalid),
      .m_axi_sg_wready(m_axi_mm2s_sg_wready),
      .m_axi_sg_bresp(m_axi_mm2s_sg_bresp),
      .m_axi_sg_bvalid(m_axi_mm2s_sg_bvalid),
      .m_axi_sg_bready(m_axi_mm2s_sg_bready)
  );

  axi_dma_mm2s mm2s (
      .clk(clk),
      .rst_n(core_rst_n),
      .job_start(start_mm2s),
      .job_address(address_mm2s),
      .job_length(length_mm2s),
      .job_ends_packet(ends_mm2s),
      .abort(abort_mm2s),
      .busy(busy_mm2s),
      .job_done(done_mm2s),
      .job_moved(moved_mm2s),
      .job_error(error_mm2s),
      .m_axi_araddr(m_axi_mm2s_araddr),
      .m_axi_arlen(m_axi_mm2s_arlen),
      .m_axi_arsize(m_axi_mm2s_arsize),
      .m_axi_arburst(m_axi_mm2s_arburst),
      .m_axi_arvalid(m_axi_mm2s_arvalid),
      .m_axi_arready(m_axi_mm2s_arready),
      .m_axi_rdata(m_axi_mm2s_rdata),
      .m_axi_rresp(m_axi_mm2s_rresp),
      .m_axi_rlast(m_axi_mm2s_rlast),
      .m_axi_rvalid(m_axi_mm2s_rvalid),
      .m_axi_rready(m_axi_mm2s_rready),
      .m_axis_tdata(m_axis_tdata),
      .m_axis_tkeep(m_axis_tkeep),
      .m_axis_tlast(m_axis_tlast),
      .m_axis_tvalid(m_axis_tvalid),
      .m_axis_tready(m_axis_tready)
  );

  wire        start_s2mm, ends_s2mm, abort_s2mm, busy_s2mm, done_s2mm, active_s2mm, ended_s2mm, began_s2mm, read_s2mm_halted;
  wire [63:0] address_s2mm;
  wire [25:0] length_s2mm, moved_s2mm;
  wire [1:0]  error_s2mm;

  axi_dma_channel #(
      .RECEIVES(1)
  ) s2mm_channel (
      .clk(clk),
      .rst_n(core_rst_n),
      .scatter_gather(scatter_gather),
      .address_bits(address_bits),
      .length_bits(length_bits),
      .write(write_s2mm),
      .write_offset(to_s2mm[5:0]),
      .write_data(s_axil_wdata),
      .read_offset(from_s2mm[5:0]),
      .read_data(read_s2mm),
      .halted(read_s2mm_halted),
      .resetting(resetting),
      .reset_wanted(reset_s2mm),
      .interrupt(interrupt_s2mm),
      .job_start(start_s2mm),
      .job_active(active_s2mm),
      .job_address(address_s2mm),
      .job_length(length_s2mm),
      .job_ends_packet(ends_s2mm),
      .abort(abort_s2mm),
      .mover_busy(busy_s2mm),
      .job_done(done_s2mm),
      .job_moved(moved_s2mm),
      .job_error(error_s2mm),
      .job_ended(ended_s2mm),
      .job_began(began_s2mm),
      .m_axi_sg_araddr(m_axi_s2mm_sg_araddr),
      .m_axi_sg_arlen(m_axi_s2mm_sg_arlen),
      .m_axi_sg_arsize(m_axi_s2mm_sg_arsize),
      .m_axi_sg_arburst(m_axi_s2mm_sg_arburst),
      .m_axi_sg_arvalid(m_axi_s2mm_sg_arvalid),
      .m_axi_sg_arready(m_axi_s2mm_sg_arready),
      .m_axi_sg_rdata(m_axi_s2mm_sg_rdata),
      .m_axi_sg_rresp(m_axi_s2mm_sg_rresp),
      .m_axi_sg_rlast(m_axi_s2mm_sg_rlast),
      .m_axi_sg_rvalid(m_axi_s2mm_sg_rvalid),
      .m_axi_sg_rready(m_axi_s2mm_sg_rready),
      .m_axi_sg_awaddr(m_axi_s2mm_sg_awaddr),
      .m_axi_sg_awlen(m_axi_s2mm_sg_awlen),
      .m_axi_sg_awsize(m_axi_s2mm_sg_awsize),
      .m_axi_sg_awburst(m_axi_s2mm_sg_awburst),
      .m_axi_sg_awvalid(m_axi_s2mm_sg_awvalid),
      .m_axi_sg_awready(m_axi_s2mm_sg_awready),
      .m_axi_sg_wdata(m_axi_s2mm_sg_wdata),
      .m_axi_sg_wstrb(m_axi_s2mm_sg_wstrb),
      .m_axi_sg_wlast(m_axi_s2mm_sg_wlast),
      .m_axi_sg_wvalid(m_axi_s2mm_sg_wvalid),
      .m_axi_sg_wready(m_axi_s2mm_sg_wready),
      .m_axi_sg_bresp(m_axi_s2mm_sg_bresp),
      .m_axi_sg_bvalid(m_axi_s2mm_sg_bvalid),
      .m_axi_sg_bready(m_axi_s2mm_sg_bready)
  );

  axi_dma_s2mm s2mm (
      .clk(clk),
      .rst_n(core_rst_n),
      .scatter_gather(scatter_gather),
      .job_start(start_s2mm),
      .job_address(address_s2mm),
      .job_length(length_s2mm),
      .abort(abort_s2mm),
      .busy(busy_s2mm),
      .job_done(done_s2mm),
      .job_moved(moved_s2mm),
      .job_error(error_s2mm),
      .job_ended(ended_s2mm),
      .job_began(began_s2mm),
      .m_axi_awaddr(m_axi_s2mm_awaddr),
      .m_axi_awlen(m_axi_s2mm_awlen),
      .m_axi_awsize(m_axi_s2mm_awsize),
      .m_axi_awburst(m_axi_s2mm_awburst),
      .m_axi_awvalid(m_axi_s2mm_awvalid),
      .m_axi_awready(m_axi_s2mm_awready),
      .m_axi_wdata(m_axi_s2mm_wdata),
      .m_axi_wstrb(m_axi_s2mm_wstrb),
      .m_axi_wlast(m_axi_s2mm_wlast),
      .m_axi_wvalid(m_axi_s2mm_wvalid),
      .m_axi_wready(m_axi_s2mm_wready),
      .m_axi_bresp(m_axi_s2mm_bresp),
      .m_axi_bvalid(m_axi_s2mm_bvalid),
      .m_axi_bready(m_axi_s2mm_bready),
      .s_axis_tdata(s_axis_tdata),
      .s_axis_tkeep(s_axis_tkeep),
      .s_axis_tlast(s_axis_tlast),
      .s_axis_tvalid(s_axis_tvalid),
      .s_axis_tready(s_axis_tready)
  );

endmodule
